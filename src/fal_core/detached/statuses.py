"""
Statuses: what the record of detached work says of it.

A record is a directory with the envelope of the call, a journal of its events, and its status.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fal_core.caches import write_atomically
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import Exited, Outcome

#: Why work has ended whose supervisor is gone.
LOST = WorkerLost(detail="Its supervisor exited before it ended.")


def read_status(directory: Path) -> dict[str, Any] | None:
    """Return the status of detached work. None where it cannot be read."""
    try:
        status: dict[str, Any] = json.loads((directory / "status.json").read_text())
    except (OSError, ValueError):
        return None
    return status


def write_status(directory: Path, status: dict[str, Any]) -> None:
    """Replace the status of detached work."""
    write_atomically(directory / "status.json", json.dumps(status), durable=False)


def end_status(outcome: Outcome | None, exited: Exited) -> dict[str, Any]:
    """Return what the status of a call says of its end."""
    if isinstance(exited.reason, Cancelled):
        return {"ended": True, "end": "cancelled"}
    if outcome is not None:
        return {"ended": True, "end": "raised" if outcome.raised else "returned"}
    error = exited.reason or WorkerLost(exited.code, exited.signal)
    return {"ended": True, "end": "failed", "error": describe(error)}


def describe(error: HostError) -> str:
    """Return an error as a status has it: its class and its sentence."""
    return f"{type(error).__name__}: {error}"
