"""Logs: a search of the command line in a million lines, none of which it finds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, time
from typing import Any

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.planes import control_plane

EMPTY = "the same command, and no line"

_WORDS = "The step of the image was generated in a while, with weights from the cache and so on"

#: The lines of one transaction.
_AT_ONCE = 20_000


@contextmanager
def search(count: int) -> Iterator[Measure]:
    """Measure ``fal-core logs --search``, its start included."""
    with control_plane() as plane:
        plane.deploy("app")
        _fill(plane.directory, count)
        command = [sys.executable, "-m", "fal_core.cli", "logs", "app"]

        def measure() -> float:
            started = perf_counter()
            shown = subprocess.check_output([*command, "--search", "Nowhere", "--since", "1d"])
            taken = perf_counter() - started
            if shown:
                raise RuntimeError("It has found a line.")
            return taken

        measure()
        yield measure


def _fill(directory: Path, count: int) -> None:
    """Write so many lines to the database of a server that runs."""
    from fal_server.logs.log_lines import LogLine, to_row
    from fal_server.state.databases import Database
    from fal_server.store.accounts import list_accounts
    from fal_server.store.tables import table_names

    table_names()
    database = Database(f"sqlite:///{directory / 'state.db'}")
    try:
        (account, *_) = database.read_here(list_accounts)
        started = time() - count / 100
        for begin in range(1, count + 1, _AT_ONCE):
            rows = [
                to_row(
                    LogLine(
                        message=f"{_WORDS} {number}",
                        account_id=account.id,
                        application="app",
                        runner_id=f"runner{number % 50}",
                        request_id=f"request{number // 20}",
                        time=started + number / 100,
                        number=number,
                    )
                )
                for number in range(begin, min(begin + _AT_ONCE, count + 1))
            ]
            insert = partial(_insert, rows=rows)
            database.write_here(insert)
    finally:
        database.close()


def _insert(connection: Any, rows: Sequence[Any]) -> None:
    from fal_server.logs.log_lines import logs

    connection.execute(logs.insert(), rows)


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this module."""
    count = 100_000 if quick else 1_000_000
    own, none = (
        Contestant(
            name=name,
            target="benchmarks.log_searches:search",
            settings={"count": kept},
            role="fal-core" if kept else "reference",
            needs=("fal_server", "fal_host_serverless"),
            pinned=False,
        )
        for name, kept in ((FAL_CORE, count), (EMPTY, 0))
    )
    return [
        Figure(
            name="logs-search",
            title=f"fal-core logs --search over {count:,} lines",
            unit="s",
            note="none of them is found; the start of the command is in it",
            contestants=(own, none),
            goals=(Goal(plus=1.0),),
        )
    ]
