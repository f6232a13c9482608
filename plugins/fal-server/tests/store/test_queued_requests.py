"""Queued requests: kept as they came, and changed in the states where that is allowed."""

from __future__ import annotations

import asyncio
import time

import attrs
import pytest
import sqlalchemy as sa
from queued import make_request

from fal_server.state.databases import Database
from fal_server.store.queued_requests import KEPT, QueuedRequests, State
from fal_server.store.queued_requests import requests as rows


def test_request_is_found_as_it_came(database: Database):
    """
    A request is found again byte by byte, with repeated headers in their order, and its
    response too.
    """
    request = make_request(
        headers=(("X-B", "2"), ("x-a", "é"), ("X-B", "1")),
        body_size=256,
        start_timeout=2.5,
        priority=1,
        webhook="https://example.com",
    )
    response = {
        "state": "completed",
        "ended_at": 5.0,
        "status": 422,
        "answer_headers": (("Set-Cookie", "a"), ("Set-Cookie", "b")),
        "answer_size": 2,
        "error": "wrong",
        "error_type": None,
    }

    async def main() -> None:
        requests = QueuedRequests(database)
        body = bytes(range(256))
        await requests.add(request, body=body)
        assert await requests.find("one") == request
        assert await requests.find("two") is None
        assert await requests.begin("one", attempts=1) == body
        assert await requests.change("one", **response, answer=b"\xff\0")
        found = await requests.find("one")
        assert found is not None
        expected = attrs.evolve(request, **response, attempts=1, started_at=found.started_at)
        assert found == expected
        assert await requests.find_all(["one", "two"]) == {"one": found}
        assert await requests.find_with_answer("one") == (found, b"\xff\0")
        assert await requests.find_with_answer("two") == (None, b"")
        # It is over.
        assert await requests.begin("one", attempts=2) is None

    asyncio.run(main())


@pytest.mark.parametrize(("sender", "kept"), [("user|2", b"\xff\0"), ("", b"")])
def test_cancelled_request_keeps_its_body(database: Database, sender: str, kept: bytes):
    """
    The body of a request that was cancelled stays, so that it can be sent again, unless a
    stranger has sent it.
    """

    async def main() -> None:
        requests = QueuedRequests(database)
        await requests.add(make_request(sender=sender, body_size=2), body=b"\xff\0")
        assert await requests.cancel(["one", "two"], ("queued",)) == ["one"]
        found = await requests.find("one")
        assert found is not None
        assert found.state == "cancelled"
        body = await database.read(lambda it: it.scalar(sa.select(rows.c.body)))
        assert body == kept

    asyncio.run(main())


@pytest.mark.parametrize("state", ["queued", "running", "completed", "cancelled"])
def test_request_changes_in_some_states_alone(database: Database, state: State):
    """
    A change that is meant for some states happens in no other: a request that was cancelled
    meanwhile gets no response.
    """

    async def main() -> None:
        requests = QueuedRequests(database)
        request = make_request(state=state)
        await requests.add(request)
        allowed = state in ("queued", "running")
        assert request.is_over is not allowed
        changed = await requests.change("one", only=("queued", "running"), attempts=7)
        assert changed is allowed
        found = await requests.find("one")
        assert found is not None
        assert (found.attempts, found.state) == (7 if allowed else 0, state)
        assert not await requests.change("none", attempts=7)

    asyncio.run(main())


def test_next_server_continues_in_the_order_of_acceptance(database: Database):
    """
    The next server finds the requests without a response in their order, the
    last number that was given, and the webhooks that are still to be delivered.
    """

    async def main() -> None:
        requests = QueuedRequests(database)
        assert await requests.last_number() == 0
        for each in (
            make_request("low", 0, priority=1),
            make_request("c", 3, state="running"),
            make_request("a", 1),
            make_request("d", 4, state="completed", webhook_due=9.5),
            make_request("b", 2, state="cancelled"),
        ):
            await requests.add(each)
        assert await requests.unfinished(lambda row: row.id) == ["a", "c", "low"]
        assert await requests.last_number() == 4
        (due,) = await requests.webhooks_due()
        assert (due.id, due.sender, due.account_id, due.webhook_due) == (
            "d",
            "user|2",
            "user|1",
            9.5,
        )

    asyncio.run(main())


def test_old_requests_are_deleted(database: Database):
    """
    Requests that ended longer ago than responses are kept are deleted, unless their webhook
    is still to be delivered.
    """

    async def main() -> None:
        requests = QueuedRequests(database)
        old, new = time.time() - KEPT - 60, time.time() - KEPT + 60
        for id, ended_at, due in (
            ("old", old, None),
            ("due", old, 1.0),
            ("new", new, None),
            ("open", None, None),
        ):
            await requests.add(make_request(id, submitted_at=1.0))
            await requests.change(id, ended_at=ended_at, webhook_due=due)
        await requests.delete_old()
        kept = [id for id in ("old", "due", "new", "open") if await requests.find(id)]
        assert kept == ["due", "new", "open"]

    asyncio.run(main())
