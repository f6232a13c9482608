"""Pending requests: how long they have waited, and whether they are tried again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from queued import make_pending, make_request

from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.queue_room import Slot
from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.specs.request_retries import MOST, RequestRetries
from fal_server.state.databases import Database
from fal_server.store.queued_requests import requests


def test_start_timeout_across_a_restart(served_plane):
    """The time in which no server ran counts towards the start timeout of a request."""
    served_plane.deploy("occupied")
    held = served_plane.submit("occupied/hold", {"gate": "occupied"})
    served_plane.begin("occupied", held)
    waiting = served_plane.submit("occupied", X_Fal_Request_Timeout="3600")
    served_plane.plane.close()
    earlier = (
        requests.update()
        .where(requests.c.id == waiting)
        .values(submitted_at=requests.c.submitted_at - 7200)
    )
    database = Database(served_plane.plane.settings.database_url)
    database.write_here(lambda connection: connection.execute(earlier), fenced=False)
    database.close()
    served_plane.plane = served_plane._start()
    assert served_plane.finish("occupied", waiting).status_code == 504
    served_plane.open("occupied")
    assert served_plane.finish("occupied", held).status_code == 200


@pytest.mark.parametrize("waited", [0.0, 90.0, -90.0])
def test_restored_request_has_waited_since_its_submission(waited: float):
    """
    A request of an earlier process has waited since it was submitted; one that seems to
    come from the future, as the clock was set, since now.
    """
    before = time.monotonic()
    row = make_request(submitted_at=time.time() - waited, state="running")
    place = Slot(("owner", "app"), ("user|2", ""))
    pending = PendingRequest.restore(row, place, time.time())
    assert pending.was_running
    assert before - max(0.0, waited) - 1 <= pending.since <= time.monotonic() - max(0, waited)


def may_retry(
    *failures: Any,
    retries: RequestRetries | None = None,
    cancelled: bool = False,
    **fields: Any,
) -> list[bool]:
    """Return after which of *failures* a request is retried."""

    async def main() -> list[bool]:
        application = Application(
            owner="user|1",
            owner_name="owner",
            alias="app",
            auth_mode=0,
            pool=make_closed_pool(),
            retries=retries or RequestRetries(),
        )
        pending = make_pending(**fields)
        pending.cancelled = cancelled
        return [pending.may_retry(application, failed) for failed in failures]

    return asyncio.run(main())


def test_attempts_are_counted_by_condition():
    """
    Each condition has its own budget, and one without a budget is limited by the most
    attempts alone.
    """
    retries = RequestRetries(budgets={"timeout": 1}, skipped=frozenset({"connection_error"}))
    failures = ("timeout", "server_error", "timeout", "server_error", "connection_error")
    assert may_retry(*failures, retries=retries) == [True, True, False, True, False]
    assert may_retry("server_error", attempts=MOST) == [False]


def test_response_may_ask_for_a_retry():
    """
    A response decides about a retry itself, except for requests that were cancelled or that
    allow a single attempt.
    """
    assert may_retry(True, False) == [True, False]
    assert may_retry(True, "timeout", cancelled=True) == [False, False]
    once = (("X-Fal-No-Retry", "1"),)
    assert may_retry(True, "timeout", headers=once) == [False, False]


@pytest.mark.parametrize(
    ("sender", "config", "expected"),
    [
        ("user|1", '{"timeout": {"retries": 0}}', False),
        ("user|2", '{"timeout": {"retries": 0}}', True),
        ("user|1", "[" * 5000, True),
    ],
    ids=["owner", "other", "deep"],
)
def test_only_the_owner_overrides_the_retries(sender: str, config: str, expected: bool):
    """
    The owner of an application may send other numbers of retries; what cannot be read, and
    what others send, is ignored.
    """
    headers = (("X-Fal-Retry-Config", config),)
    assert may_retry("timeout", sender=sender, headers=headers) == [expected]
