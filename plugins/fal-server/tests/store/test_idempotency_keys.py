"""Idempotency keys: stored with their requests, and kept for a day."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa
from queued import make_request

from fal_server.errors import Invalid
from fal_server.state.databases import Database
from fal_server.store import idempotency_keys
from fal_server.store.idempotency_keys import KEPT, IdempotencyKey, check_text
from fal_server.store.queued_requests import KeyReused, QueuedRequests


def make(**changes: Any) -> IdempotencyKey:
    given = {
        "text": "order 7",
        "account": "user|2",
        "application": ("user|1", "app"),
        "path": "/",
        "content": (b"POST", b"", b"{}"),
        **changes,
    }
    return IdempotencyKey.make(given.pop("text"), **given)


def test_key_accepts_one_request(database: Database):
    """
    Of several requests with one key, also of those that come at once, one is stored, and all
    senders get its id.
    """

    async def main() -> None:
        requests = QueuedRequests(database)
        ids = [str(number) for number in range(20)]
        adding = [requests.add(make_request(id), make()) for id in ids]
        (first,) = set(await asyncio.gather(*adding))
        assert [id for id in ids if await requests.find(id)] == [first]
        assert await requests.add(make_request("later"), make()) == first

    asyncio.run(main())


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "order 8"},
        {"account": "user|3"},
        {"application": ("user|1", "other")},
        {"application": ("user|9", "app")},
        {"path": "/other"},
    ],
)
def test_keys_of_different_scopes_are_different(database: Database, changes: dict[str, Any]):
    """The same key of another account, or for another application or path, is another key."""

    async def main() -> None:
        requests = QueuedRequests(database)
        assert await requests.add(make_request("one"), make()) == "one"
        assert await requests.add(make_request("two"), make(**changes)) == "two"

    asyncio.run(main())


@pytest.mark.parametrize(
    "content", [(b"POST", b"", b"[]"), (b"PUT", b"", b"{}"), (b"POST", b"{}", b"")]
)
def test_key_of_another_request_is_refused(database: Database, content: tuple[bytes, ...]):
    """A key that comes with another body, query or method is refused, and nothing is stored."""

    async def main() -> None:
        requests = QueuedRequests(database)
        await requests.add(make_request("one"), make())
        with pytest.raises(KeyReused, match="use a new one"):
            await requests.add(make_request("two"), make(content=content))
        assert await requests.find("two") is None

    asyncio.run(main())


def test_request_that_cannot_be_stored_leaves_no_key(database: Database):
    """A key is written with its request or not at all."""

    async def main() -> None:
        requests = QueuedRequests(database)
        await requests.add(make_request("taken"))
        with pytest.raises(sa.exc.IntegrityError):
            await requests.add(make_request("taken"), make())
        assert await requests.add(make_request("next"), make()) == "next"

    asyncio.run(main())


def test_key_is_kept_for_a_day(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Housekeeping deletes a key a day after its request was accepted, and none before."""
    now = time.time()
    monkeypatch.setattr(idempotency_keys.time, "time", lambda: now)

    async def main() -> None:
        nonlocal now
        requests = QueuedRequests(database)
        await requests.add(make_request("one"), make())
        now += KEPT - 1
        await requests.delete_old()
        assert await requests.add(make_request("two"), make()) == "one"
        now += 2
        await requests.delete_old()
        assert await requests.add(make_request("three"), make()) == "three"

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", "a" * 256, "é", "a\tb", "\x7f"])
def test_text_that_may_not_be_a_key(text: str):
    """A key has up to 255 printable characters."""
    with pytest.raises(Invalid, match="1 to 255 printable"):
        check_text(text)
    assert check_text("a" * 255) == "a" * 255
