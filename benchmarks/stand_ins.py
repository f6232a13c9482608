"""
Stand-ins: a server that shows runners which there are not, as the pages of hundreds would need
hundreds of processes.

Run as a program this module is ``fal-core``; of the server it starts, each account has as many
more runners as a variable says, and one of them has as many requests as a file says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The variables with the number of runners, and the path of the file.
COUNT, CHANGES = "FAL_CORE_BENCH_RUNNERS", "FAL_CORE_BENCH_CHANGES"


def name_of(number: int) -> str:
    """Return the id of a runner."""
    return f"standin{number:05}"


def _make_runners(count: int) -> dict[str, Mapping[str, Any]]:
    started = time.time()
    return {
        name_of(number): {
            "application": f"echo-{number % 50}",
            "revision": "0" * 32,
            "phase": "running" if number % 3 else "idle",
            "reason": "",
            "host": "local",
            "machine": "S",
            "gpus": 0,
            "started_at": round(started - number, 1),
            "in_flight": 0,
            "requests": [],
        }
        for number in range(count)
    }


def main() -> None:
    """Be ``fal-core``."""
    from fal_core.cli import main as run
    from fal_server.dashboard.snapshots import Snapshot, Snapshots

    runners, changes = _make_runners(int(os.environ[COUNT])), Path(os.environ[CHANGES])
    take = Snapshots._take

    def take_more(self: Snapshots, account_id: str) -> Snapshot:
        taken = take(self, account_id)
        changed = name_of(len(runners) // 2)
        runners[changed] = {**runners[changed], "in_flight": int(changes.read_text())}
        return Snapshot(taken.applications, {**runners, **taken.runners})

    Snapshots._take = take_more  # type: ignore[method-assign]  # for this program alone
    run()


if __name__ == "__main__":
    main()
