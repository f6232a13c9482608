"""
The log of a deployment, shown to people.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from fal_core.events import Event, Log

_TRACEBACK = "Traceback (most recent call last):"


class Shown(Protocol):
    """
    What shows events: the progress of the command line.
    """

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


class DeploymentLog:
    """
    Shows what happens during a deployment, without records in JSON of errors.

    The service prints the traceback of an application that does not start, after the
    application itself has printed it in such a record. One that was not repeated is shown
    at the end, as a traceback.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._kept: list[Log] = []

    def __call__(self, event: Event) -> None:
        """
        Show an event, or keep it.
        """
        from fal_core.events import Log

        if isinstance(event, Log):
            traceback = _traceback_in(event.message)
            if traceback:
                self._kept.append(attrs.evolve(event, message=traceback))
                return
            if _TRACEBACK in event.message:
                self._kept = [each for each in self._kept if not _is_same(each, event)]
        self._shown(event)

    def close(self) -> None:
        """
        Show what was kept, and stop showing progress.
        """
        kept, self._kept = self._kept, []
        for each in kept:
            self._shown(each)
        self._shown.close()


def _is_same(kept: Log, shown: Log) -> bool:
    """
    Tell whether two tracebacks end alike. Each may have frames that the other leaves out.
    """
    return kept.message.splitlines()[-1] in shown.message


def _traceback_in(message: str) -> str:
    """
    Return the traceback in a record in JSON. Empty where there is none.
    """
    if not message.startswith("{"):
        return ""
    try:
        facts = json.loads(message)
    except (ValueError, RecursionError):
        return ""
    traceback = facts.get("traceback") if isinstance(facts, dict) else None
    return traceback.strip() if isinstance(traceback, str) else ""
