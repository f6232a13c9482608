"""Requests for queues: where they go, and what a key changes."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from fal_core.errors import FalServerlessError, InternalFalServerlessError, OptionError
from fal_host_serverless import AsyncServerlessClient, SyncServerlessClient
from fal_host_serverless.account import told_facts
from fal_host_serverless.errors import ResourceNotFound


@pytest.fixture
def queue(rest: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The REST service as a queue that takes keys."""
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", rest.address)
    rest.abilities = "idempotency-keys more"
    return rest


def test_request_is_put_into_a_queue(asking: SyncServerlessClient, queue: Any):
    """
    A plain name is one of the caller's own applications, with the stage and the path; the
    request is returned as the queue tells it.
    """
    queue.abilities = ""
    submitted = asking.submit("app", {"n": 1}, path="sub?x=1", environment_name="staging")
    assert queue.asked[-1] == ("POST", "/me/app--staging/sub?x=1")
    assert queue.submitted == [{"n": 1}]
    assert "Idempotency-Key" not in queue.headers[-1]
    assert queue.headers[-1]["Authorization"] == "Key kid:ksecret"
    assert submitted.request_id == "r1"
    assert submitted.status_url == f"http://{queue.address}/me/app/requests/r1/status"
    assert not submitted.is_replayed
    asking.submit("you/app")
    assert (queue.asked[-1], queue.submitted[-1]) == (("POST", "/you/app/"), {})


def test_request_with_a_key_is_sent_again(asking: SyncServerlessClient, queue: Any):
    """
    A request with a key is sent again with it where the service fails, and one without a
    key is not, as it might be accepted twice.
    """
    queue.failures = 2
    submitted = asking.submit("you/app", {"n": 1}, key="order 7")
    assert (submitted.request_id, submitted.is_replayed) == ("r1", True)
    assert [each.get("Idempotency-Key") for each in queue.headers[-3:]] == ["order 7"] * 3
    queue.failures = 1
    with pytest.raises(InternalFalServerlessError, match="answers 503"):
        asking.submit("you/app", {"n": 2})
    assert queue.submitted == [{"n": 1}]


def test_service_is_asked_about_itself_and_the_account_once(
    asking: SyncServerlessClient, queue: Any
):
    """Requests that follow the first are sent alone, over the same connection."""
    for number in range(3):
        asking.submit("app", number, key=f"order {number}")
    paths = [path for _, path in queue.asked]
    assert paths == ["/health", "/users/current", "/me/app/", "/me/app/", "/me/app/"]
    assert queue.connections == 1


def test_accounts_have_owners_of_their_own(asking: SyncServerlessClient, queue: Any):
    """What is known of one account is not taken for that of another."""
    asking.submit("app")
    queue.nickname = "you"
    SyncServerlessClient(host=asking.host, api_key="other:key").submit("app")
    asking.submit("app")
    sent = [path for method, path in queue.asked if method == "POST"]
    assert sent == ["/me/app/", "/you/app/", "/me/app/"]
    assert queue.headers[-1]["Authorization"] == "Key kid:ksecret"


def test_account_with_a_new_name_is_asked_again(asking: SyncServerlessClient, queue: Any):
    """
    An application that is not found may be that of an account with another name by now, and
    what was told holds for a while only.
    """
    asking.submit("app")
    with pytest.raises(ResourceNotFound):
        asking.submit("absent")
    queue.nickname = "you"
    asking.submit("app")
    assert queue.asked[-1] == ("POST", "/you/app/")


def test_what_a_service_has_told_holds_for_a_while(
    asking: SyncServerlessClient, queue: Any, monkeypatch: pytest.MonkeyPatch
):
    """A service is asked again after some time."""
    monkeypatch.setattr(told_facts, "_KEPT", -1.0)
    asking.submit("app")
    asking.submit("app")
    assert [path for _, path in queue.asked].count("/users/current") == 2
    assert len(told_facts._facts) == 1


def test_service_that_takes_keys_from_now_on(asking: SyncServerlessClient, queue: Any):
    """A service that took no keys is asked again: it may have been replaced."""
    queue.abilities = ""
    with pytest.raises(OptionError, match="takes no idempotency keys"):
        asking.submit("app", key="order 7")
    queue.abilities = "idempotency-keys"
    assert asking.submit("app", key="order 7").request_id == "r1"


@pytest.mark.parametrize("abilities", ["", "other"])
def test_service_that_takes_no_keys(asking: SyncServerlessClient, queue: Any, abilities: str):
    """A key is refused if the service does not say that it takes keys, and nothing is sent."""
    queue.abilities = abilities
    with pytest.raises(OptionError, match="takes no idempotency keys"):
        asking.submit("app", key="order 7")
    assert queue.submitted == []


def test_service_that_cannot_be_asked(
    asking: SyncServerlessClient, monkeypatch: pytest.MonkeyPatch
):
    """Whether a service takes keys is not known where it cannot be reached."""
    monkeypatch.setenv("FAL_REST_HOST", "127.0.0.1:1")
    with pytest.raises(FalServerlessError, match="cannot be reached"):
        asking.submit("app", key="order 7")


def test_asynchronous_client_submits_the_same(asking: SyncServerlessClient, queue: Any):
    """Both clients submit the same, with the same parameters."""

    async def submit() -> Any:
        async with AsyncServerlessClient(host=asking.host) as client:
            return await client.submit("you/app", [1], path="/p", key="k")

    assert asyncio.run(submit()) == asking.submit("you/app", [1], path="/p", key="k")
    assert queue.submitted == [[1], [1]]
    one, other = (
        inspect.signature(each.submit).parameters
        for each in (SyncServerlessClient, AsyncServerlessClient)
    )
    assert one == other
