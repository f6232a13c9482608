"""
Endings: why a runner has ended that its host tells nothing of.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any

import attrs

from fal_core.errors import EnvironmentBuildError, WorkerLost
from fal_core.events import Exited, Log, Sealed
from fal_core_worker.opening.seals import PREFIX_SIZE
from fal_server.outcomes import CallOutcome

#: Characters of a sentence, and of a traceback, that are kept.
_LONGEST, _LONGEST_TRACEBACK = 2000, 16_000


@attrs.frozen
class Raised:
    """
    What an agent has raised instead of taking what the plane sends.

    Attributes:
        sentence: What it is, for whoever waits for the runner.

        traceback: Where it was raised. Empty where that is of no use.
    """

    sentence: str
    traceback: str = ""


def read_raised(sealed: Sealed) -> Raised:
    """
    Read what an agent has raised.

    It shares a process with what users send, so nothing but built-in values is opened.
    """
    try:
        content = io.BytesIO(memoryview(sealed.data)[PREFIX_SIZE:])
        record = _PlainUnpickler(content).load()
        _, qualname, _ = record["class"]
        message, traceback = str(record["message"]), str(record["traceback"])
        own = "own" in record
    except Exception:
        return Raised("Its agent raised what cannot be read.")
    if own:
        return Raised(message[:_LONGEST])
    sentence = f"Its agent raised {qualname}: {message}".rstrip(": ")
    return Raised(sentence[:_LONGEST], traceback.rstrip()[-_LONGEST_TRACEBACK:])


def describe_outcome(outcome: CallOutcome | None) -> str:
    """
    Say what a function has told instead of serving. Empty where it has told nothing.
    """
    if outcome is None:
        return ""
    if outcome.raised:
        return f"{outcome.type_name}: {outcome.text}"
    return outcome.failure


def describe_exit(event: Exited, *, has_returned: bool) -> str:
    """
    Say how a runner has ended that did not come up and was not told to end.

    Arguments:
        has_returned: Whether its function has.
    """
    if event.code or event.signal is not None:
        return str(WorkerLost(event.code, event.signal))
    if has_returned:
        return "Its function returned before it served anything."
    return "It ended by itself before it was up."


def make_lines(
    sentence: str, traceback: str, cause: BaseException | None, now: float
) -> Iterator[Log]:
    """
    Yield what the log tells of a runner that has ended unasked.
    """
    for message in filter(None, (traceback.rstrip(), sentence)):
        built = not isinstance(cause, EnvironmentBuildError)
        yield Log(message, "ERROR", "BRIDGE" if built else "BUILDER", now)


class RunnerLost(Exception):
    """
    A runner has ended while something was asked of it. The argument says why.
    """


class _PlainUnpickler(pickle.Unpickler):
    """
    Opens built-in values and nothing else.
    """

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")
