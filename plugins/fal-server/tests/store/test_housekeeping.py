"""Housekeeping: what is renewed and deleted in each round."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from queued import make_request

from fal_server.claims.claims import refuse_writes
from fal_server.key_values.stored_values import StoredValues
from fal_server.limits import Limits
from fal_server.listeners.certificates import Certificate
from fal_server.logs.log_lines import LogFilter, LogLine
from fal_server.logs.logs import Logs
from fal_server.state.bodies import BodyFiles
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database
from fal_server.state.file_stores import FolderStore
from fal_server.store import housekeeping
from fal_server.store.blobs import Blobs
from fal_server.store.build_contexts import BuildContexts
from fal_server.store.housekeeping import Housekeeping
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.queued_requests import QueuedRequests
from fal_server.store.uploads import AppFiles, StoredFiles

DAY = 24 * 3600.0

#: How long ago what is old and what is new was made, in seconds.
OLD, NEW = 30 * DAY, 60.0


ALL = {f"{kind} {age}" for kind in ("line", "request", "upload") for age in ("old", "new")}
YOUNG = {name for name in ALL if name.endswith("new")}


@attrs.define
class Kept:
    """
    A server's data, some of it old and some new.

    Attributes:
        ids: The ids of the uploads.
    """

    rounds: Housekeeping
    uploads: Path
    ids: dict[str, str]

    async def names(self) -> set[str]:
        """Return what has not been deleted."""
        lines = await self.rounds.logs.read(LogFilter(account_id="me"))
        found = {f"line {line.message}" for line in lines}
        for age in ("old", "new"):
            if await self.rounds.requests.find(age):
                found.add(f"request {age}")
        uploads = {each.name for each in self.uploads.iterdir()}
        return found | {name for name, id in self.ids.items() if id in uploads}


async def fill(directory: DataDirectory, database: Database) -> Kept:
    """Make data of a server."""
    certificate = Certificate(directory, [])
    blobs = Blobs(FolderStore(directory.path / "blobs"))
    requests, logs = QueuedRequests(database), Logs(database)
    now = time.time()
    for age, seconds in (("old", OLD), ("new", NEW)):
        where = {"account_id": "me", "application": "app", "runner_id": "r"}
        logs.add(LogLine(message=age, time=now - seconds, **where))
        await requests.add(make_request(age))
        await requests.change(age, ended_at=now - seconds)
    await logs.flush()
    uploads = directory.path / "blobs" / "uploads"
    ids = {f"upload {age}": await blobs.begin("a") for age in ("old", "new")}
    os.utime(uploads / ids["upload old"] / "begun", (1, 1))
    files = BodyFiles(FolderStore(directory.path / "requests"))
    rounds = Housekeeping(
        certificate=certificate,
        blobs=blobs,
        stored_files=StoredFiles(database, blobs),
        contexts=BuildContexts(AppFiles(database, blobs), directory.path / "contexts"),
        values=StoredValues(database, Limits()),
        requests=requests,
        responses=KeptResponses(database, files, largest=1 << 30),
        logs=logs,
    )
    return Kept(rounds, uploads, ids)


@contextlib.asynccontextmanager
async def running(rounds: Housekeeping) -> AsyncIterator[asyncio.Task[None]]:
    """Do rounds while the block runs."""
    task = asyncio.ensure_future(rounds.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle(kept: Kept, task: asyncio.Task[None]) -> None:
    """Wait until what is old has been deleted."""
    while await kept.names() != YOUNG:
        assert not task.done()
        # Until the round is over.
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("can_renew", [True, False])
def test_round_deletes_what_has_expired(
    tmp_path: Path, database: Database, can_renew: bool, caplog: pytest.LogCaptureFixture
):
    """
    A round deletes old lines, requests and uploads and keeps the new ones, also if the
    certificate cannot be renewed.
    """

    async def main() -> None:
        directory = DataDirectory(tmp_path / "data")
        kept = await fill(directory, database)
        if not can_renew:
            directory.tls.rename(tmp_path / "elsewhere")
            directory.tls.touch()
        assert await kept.names() == ALL
        async with running(kept.rounds) as task:
            await asyncio.wait_for(settle(kept, task), 60)

    asyncio.run(main())
    assert ("could not be renewed" in caplog.text) is not can_renew


def test_step_that_fails_keeps_nothing_else(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
):
    """Where some of what has expired cannot be deleted, the rest is, and the log names it."""

    async def main() -> None:
        kept = await fill(DataDirectory(tmp_path / "data"), database)
        lost = tmp_path / "elsewhere"
        kept.uploads.rename(lost)
        kept.ids.clear()
        kept.uploads.touch()
        requests = attrs.evolve(kept, uploads=lost)
        async with running(kept.rounds) as task:
            while await requests.names() != {"line new", "request new"}:
                assert not task.done()
                # Until the round is over.
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 60))
    assert "Abandoned uploads could not be deleted" in caplog.text
    assert caplog.text.count("could not be deleted") == 1


def test_round_of_a_replica_that_decides_no_longer(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
):
    """What another replica deletes by now is no error of this one."""

    async def main() -> None:
        kept = await fill(DataDirectory(tmp_path / "data"), database)
        database.fence = refuse_writes
        await kept.rounds._drop()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert "could not be deleted" not in caplog.text


def test_responses_are_kept_for_as_long_as_told(tmp_path: Path, database: Database):
    """A round deletes the requests that ended longer ago than responses are kept."""

    async def main() -> None:
        kept = await fill(DataDirectory(tmp_path / "data"), database)
        rounds = attrs.evolve(kept.rounds, responses_kept=NEW / 2)
        async with running(rounds) as task:
            while await rounds.requests.find("new"):
                assert not task.done()
                # Until the round is over.
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_round_after_the_clock_was_set_deletes_nothing(
    tmp_path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """
    In the round after the clock was set nothing is deleted, as it may not be old. The next
    round trusts a clock that stays.
    """
    clocks = iter([0.0, DAY, DAY])
    paused, go_on = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 3600.0
        paused.set()
        await go_on.wait()
        go_on.clear()

    def now() -> float:
        """Return a time that jumps by a day after the start."""
        return offset() + time.time()

    def offset() -> float:
        nonlocal set_by
        set_by = next(clocks, set_by)
        return set_by

    set_by = 0.0
    clock = SimpleNamespace(time=now, monotonic=time.monotonic)

    async def main() -> None:
        kept = await fill(DataDirectory(tmp_path / "data"), database)
        monkeypatch.setattr(housekeeping, "time", clock)
        pauses = SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread)
        monkeypatch.setattr(housekeeping, "asyncio", pauses)
        async with running(kept.rounds) as task:
            await asyncio.wait_for(paused.wait(), 60)
            assert await kept.names() == ALL
            assert "The clock was set by 86400 seconds" in caplog.text
            go_on.set()
            await asyncio.wait_for(settle(kept, task), 60)

    asyncio.run(main())
