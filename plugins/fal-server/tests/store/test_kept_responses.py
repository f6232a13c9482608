"""Kept responses: each account has so much of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from queued import make_request

from fal_server.state.bodies import BodyFiles
from fal_server.state.databases import Database
from fal_server.state.file_stores import FolderStore
from fal_server.store import kept_responses
from fal_server.store.idempotency_keys import IdempotencyKey
from fal_server.store.kept_responses import KeptResponses, Sender
from fal_server.store.queued_requests import QueuedRequests, name_answer, name_body

LARGEST = 10_000_000


class Kept:
    """A store of responses."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.requests = QueuedRequests(database)
        self.files = BodyFiles(FolderStore(folder / "requests"))
        self.folder = folder / "requests"
        self.responses = KeptResponses(database, self.files, largest=LARGEST)

    async def add(
        self,
        id: str,
        ended_at: float,
        size: int,
        key: IdempotencyKey | None = None,
        body: bytes = b"",
        **fields: str,
    ) -> None:
        """Store a request with a response, which has a file."""
        request = make_request(id, state="completed", answer_size=size, **fields)
        await self.requests.add(request, key, body=body)
        await self.requests.change(id, ended_at=ended_at)
        (self.folder / name_answer(id, 0)).touch()

    async def settle(self, *ids: str) -> None:
        """Wait until the responses with these ids are there, and no others."""
        expected = {name_answer(id, 0) for id in ids}
        while {path.name for path in self.folder.iterdir()} != expected:
            # They are deleted in the background.
            await asyncio.sleep(0.01)
        found = await self.requests.find_all(["old", "new", "newest", "other", "due"])
        assert {*found} == {*ids}


@asynccontextmanager
async def keeping(database: Database, folder: Path) -> AsyncIterator[Kept]:
    kept = Kept(database, folder)
    try:
        yield kept
    finally:
        await kept.responses.close()


def test_oldest_responses_go_first(database: Database, tmp_path: Path):
    """
    Where the responses to an account exceed the limit, its oldest ones are deleted with their
    files, but neither those of others nor those whose webhook is still to be delivered.
    """

    key = IdempotencyKey(scope="scope", digest="digest")

    async def main() -> None:
        async with keeping(database, tmp_path) as kept:
            await kept.add("other", 1.0, 9_000_000, sender="user|3")
            await kept.add("due", 1.5, 10_000, webhook="http://example.com")
            await kept.requests.change("due", webhook_due=1.5)
            await kept.add("old", 2.0, 4_000_000, key=key)
            await kept.add("new", 3.0, 4_000_000)
            for sender, size in (("user|3", 9_000_000), *[("user|2", 4_000_000)] * 2):
                kept.responses.add(sender, "user|1", size)
            await kept.settle("other", "due", "old", "new")
            await kept.add("newest", 4.0, 4_000_000)
            kept.responses.add("user|2", "user|1", 4_000_000)
            await kept.settle("other", "due", "new", "newest")
            # A key leads to no request that is gone.
            assert await kept.requests.add(make_request("again"), key) == "again"

    asyncio.run(asyncio.wait_for(main(), 60))


def test_kept_inputs_take_room(database: Database, tmp_path: Path):
    """The inputs that are kept beside responses are among what an account may have."""

    async def main() -> None:
        async with keeping(database, tmp_path) as kept:
            body = bytes(6_000_000)
            await kept.add("old", 1.0, 10, body=body)
            await kept.add("new", 2.0, 10, body=body)
            for _ in range(2):
                kept.responses.add("user|2", "user|1", len(body) + 10)
            await kept.settle("new")

    asyncio.run(asyncio.wait_for(main(), 60))


def test_responses_that_await_their_webhooks(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Where the responses that exceed the limit await their webhooks, what an account has is not
    measured again for each further response, but after a while or when it is much more.
    """

    async def main() -> None:
        async with keeping(database, tmp_path) as kept:
            measure, measured = kept.responses._measure, 0

            async def counting(whose: Sender | None = None) -> list[tuple[Sender, int]]:
                nonlocal measured
                measured += 1
                return await measure(whose)

            async def rest(after: int) -> None:
                while measured <= after or not kept.responses._resting:
                    await asyncio.sleep(0.01)

            monkeypatch.setattr(kept.responses, "_measure", counting)
            await kept.add("due", 1.0, 11_000_000, webhook="http://example.com")
            await kept.requests.change("due", webhook_due=1.0)
            kept.responses.add("user|2", "user|1", 11_000_000)
            await rest(0)
            for _ in range(5):
                kept.responses.add("user|2", "user|1", 1000)
                # Long enough for measuring once more.
                await database.write(lambda connection: None)
                await database.read(lambda connection: None)
            assert measured == 1
            monkeypatch.setattr(kept_responses, "_AGAIN", 0.01)
            await kept.add("new", 2.0, 1_000_000)
            kept.responses.add("user|2", "user|1", 1_000_000)
            await kept.settle("due")
            await kept.requests.change("due", webhook_due=None)
            await kept.settle()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_responses_of_an_earlier_server_count(database: Database, tmp_path: Path):
    """
    The next server counts what is stored, and those who have no key have room of their own
    for each owner of applications.
    """

    async def main() -> None:
        async with keeping(database, tmp_path) as kept:
            await kept.add("old", 1.0, 6_000_000, sender="")
            await kept.add("new", 2.0, 6_000_000, sender="")
            await kept.add("other", 0.5, 6_000_000, sender="", account_id="user|9")
            kept.responses.start()
            await kept.settle("new", "other")

    asyncio.run(asyncio.wait_for(main(), 60))


def test_files_of_no_request_are_removed(database: Database, tmp_path: Path):
    """
    Files that a killed server has left are removed: those of requests that are not stored,
    and the bodies of those that are over.
    """

    async def main() -> None:
        async with keeping(database, tmp_path) as kept:
            await kept.add("new", 1.0, 1)
            await kept.requests.add(make_request("waits"))
            for name in (
                name_body("new"),
                name_body("waits"),
                name_body("unknown"),
                name_answer("unknown", 1),
            ):
                (kept.folder / name).touch()
            await kept.responses.remove_leftovers()
            left = {path.name for path in kept.folder.iterdir()}
            assert left == {name_answer("new", 0), name_body("waits")}

    asyncio.run(asyncio.wait_for(main(), 60))
