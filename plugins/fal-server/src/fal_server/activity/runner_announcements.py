"""Announcements of runners: that one takes requests, has ended, or has failed."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fal_server.activity.announcements import announce

#: When this server began: runners that were started before are found again.
_BEGAN = time.time()

#: The states of runners from which an end is what somebody wanted.
_WANTED = ("DRAINING", "KILLED")


class Announced(Protocol):
    """What is told of a runner: its class comes later in the order of imports."""

    id: str
    reason: str
    started_at: float

    @property
    def spec(self) -> Any: ...

    @property
    def lifecycle(self) -> Any: ...

    @property
    def uptime(self) -> float: ...

    @property
    def failure(self) -> str: ...


def tell_of(runner: Announced) -> None:
    """Announce the present state of a runner, if that is one that people are told of."""
    state = runner.lifecycle.state.name
    facts = {
        "application": runner.spec.full_name,
        "runner": runner.id,
        "seconds": round(runner.uptime, 3),
    }
    name = f"runner {runner.id[:8]}"
    if state == "RUNNING" and runner.started_at < _BEGAN:
        announce("runner-found", f"{name} goes on, up for {runner.uptime:.1f} s", **facts)
    elif state == "RUNNING":
        announce("runner-started", f"{name} is up after {runner.uptime:.1f} s", **facts)
    elif state == "TERMINATED":
        why = _why_it_failed(runner)
        if why:
            failed = f"{name} has failed after {runner.uptime:.1f} s: {why}"
            announce("runner-failed", failed, failed=True, reason=why, **facts)
        else:
            announce("runner-ended", f"{name} has ended after {runner.uptime:.1f} s", **facts)


def _why_it_failed(runner: Announced) -> str:
    lifecycle = runner.lifecycle
    if lifecycle.ended_from is not None and lifecycle.ended_from.name in _WANTED:
        return ""
    return runner.reason or ("" if lifecycle.came_up else runner.failure)
