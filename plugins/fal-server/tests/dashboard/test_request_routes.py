"""The queued requests on the dashboard: lists of them, one of them, its result and its end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from isolate_proto import controller_pb2 as wire

from fal_server.state.bodies import SMALL


@pytest.fixture
def done(served_plane: Any, app: str) -> str:
    """The id of a request that was answered."""
    id = served_plane.submit(f"{app}/text")
    served_plane.finish(app, id)
    return str(id)


def test_requests_are_found_by_state_and_application(
    served_plane: Any, app: str, done: str, held: tuple[str, str]
):
    """
    Requests are listed from the newest on, those of a state or an application where one is
    asked for, in pages.
    """
    with served_plane.plane.client() as client:

        def listed(**query: Any) -> list[str]:
            told = client.get("/dashboard/requests", params=query).json()
            return [each["id"] for each in told["requests"]]

        assert done in listed(state="completed", application=app)
        assert held[0] in listed(state="running")
        assert done not in listed(state="running")
        assert done not in listed(application="other")
        first = client.get("/dashboard/requests", params={"size": 1}).json()
        assert len(first["requests"]) == 1
        assert not first["is_last"]
        after = listed(before=first["requests"][0]["number"])
        assert first["requests"][0]["id"] not in after
        assert client.get("/dashboard/requests?state=odd").status_code == 422


def test_request_of_another_account_is_not_found(served_plane: Any, done: str):
    """Neither a request nor its result is told to another account, nor may that cancel it."""
    with served_plane.plane.client(served_plane.plane.add_user("stranger")) as other:
        assert other.get("/dashboard/requests").json()["requests"] == []
        path = f"/dashboard/requests/{done}"
        assert other.get(path).status_code == 404
        assert other.get(f"{path}/result").status_code == 404
        assert other.post(f"{path}/cancel").status_code == 404


def test_result_is_shown(served_plane: Any, app: str, done: str):
    """A result that is text is shown as such."""
    with served_plane.plane.client() as client:
        told = client.get(f"/dashboard/requests/{done}").json()
        shown = client.get(f"/dashboard/requests/{done}/result").json()

    assert (told["state"], told["status"], told["attempts"]) == ("completed", 200, 1)
    assert shown["text"] == "words"
    assert shown["type"].startswith("text/plain")


def test_waiting_request_is_cancelled(served_plane: Any, app: str, held: tuple[str, str]):
    """A request that waits has a place in the queue, and is dropped when it is cancelled."""
    waiting = served_plane.submit(app)
    with served_plane.plane.client() as client:
        path = f"/dashboard/requests/{waiting}"
        assert client.get(path).json()["position"] == 0
        assert client.post(f"{path}/cancel").json() == {"cancelled": True}
        assert client.get(path).json()["state"] == "cancelled"
        assert client.get(f"{path}/result").status_code == 404


def state_of(served_plane: Any, id: str, key: str | None = None) -> Any:
    with served_plane.plane.client(key) as client:
        return client.get(f"/dashboard/requests/{id}").json()


def send_again(served_plane: Any, id: str, key: str | None = None) -> Any:
    with served_plane.plane.client(key) as client:
        return client.post(f"/dashboard/requests/{id}/again")


@pytest.mark.parametrize("path", ["fail", ""])
def test_request_that_was_answered_is_sent_again(served_plane: Any, app: str, path: str):
    """A request that has failed, or is done, is sent again with its input."""
    id = served_plane.submit(f"{app}/{path}", {"name": "once more"})
    before = served_plane.finish(app, id)
    assert state_of(served_plane, id)["can_repeat"]
    again = send_again(served_plane, id).json()["id"]
    after = served_plane.finish(app, again)
    first, second = served_plane.find(id), served_plane.find(again)

    assert (after.status_code, second.path) == (before.status_code, first.path)
    assert served_plane.order()[-2:] == [f"{path or 'echo'} once more"] * 2
    assert second.attempts == 1


def test_cancelled_request_is_sent_again(served_plane: Any, app: str, held: tuple[str, str]):
    """A request that was cancelled as it waited is sent again with its input."""
    id = served_plane.submit(app, {"name": "dropped"})
    assert not state_of(served_plane, id)["can_repeat"]
    refused = send_again(served_plane, id)
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "This request has not ended.",
    )
    with served_plane.plane.client() as client:
        client.post(f"/dashboard/requests/{id}/cancel")
    assert state_of(served_plane, id)["can_repeat"]
    again = send_again(served_plane, id).json()["id"]
    served_plane.open(held[1])
    assert served_plane.finish(app, again).json()["told"] == {"name": "dropped"}


def test_request_whose_input_is_gone_is_not_sent_again(served_plane: Any, app: str):
    """An input that is large, or that a stranger has sent, is not kept."""
    served_plane.deploy("open", auth_mode=wire.PUBLIC)
    with served_plane.client("queue", "") as stranger:
        by_stranger = stranger.post("/owner/open", json={"name": "x"}).json()["request_id"]
    served_plane.finish("open", by_stranger)
    large = served_plane.submit(app, {"name": "x" * SMALL})
    served_plane.finish(app, large)
    for id in (large, by_stranger):
        assert not state_of(served_plane, id)["can_repeat"]
        refused = send_again(served_plane, id)
        assert (refused.status_code, "is not kept" in refused.json()["detail"]) == (409, True)


def test_requests_to_a_shared_application_are_sent_again(served_plane: Any):
    """
    Who has sent a request to the application of another account sends it again while they may
    use that; so does the owner of the application, in their own name, and nobody else.
    """
    user = served_plane.plane.add_user("user")
    served_plane.deploy("ours", auth_mode=wire.SHARED)
    retries = {"X_Fal_Retry_Config": '{"server_error": {"retries": 1}}'}
    tokens = {"X-Fal-CDN-Token": "of the sender", "X_App_Fal_Upload_Policy": "{}"}
    id = served_plane.submit("ours", {"name": "mine"}, key=user, **retries, **tokens)
    served_plane.finish("ours", id)
    sender = served_plane.find(id).sender
    for key in (user, None):
        assert state_of(served_plane, id, key)["can_repeat"]
        again = send_again(served_plane, id, key).json()["id"]
        served_plane.finish("ours", again)
        sent = served_plane.find(again)
        assert (sent.sender == sender) is (key is user)
        # What only the owner of an application may ask for is not asked for in their name.
        names = {name.lower() for name, _ in sent.headers}
        assert ("x-fal-retry-config" in names) is (key is user)
        # Nor is what the sender alone may use.
        assert ("x-fal-cdn-token" in names) is (key is user)
        assert any("policy" in name for name in names) is (key is user)
    other = served_plane.plane.add_user("other")
    assert send_again(served_plane, id, other).status_code == 404
    served_plane.deploy("ours", auth_mode=wire.PRIVATE)
    assert not state_of(served_plane, id, user)["can_repeat"]
    assert send_again(served_plane, id, user).status_code == 404


def test_live_tells_what_changes(served_plane: Any, app: str, held: tuple[str, str]):
    """A stream begins with all that the account has; other accounts get none of it."""

    def first(key: str | None = None) -> Any:
        with (
            served_plane.plane.client(key) as client,
            client.stream("GET", "/dashboard/live") as stream,
        ):
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    return json.loads(line[6:])
        raise AssertionError("The stream has ended.")

    told = first()
    assert told["applications"][app]["running"] == 1
    (runner,) = (each for each in told["runners"].values() if each["application"] == app)
    assert runner["requests"] == [held[0]]
    other = first(served_plane.plane.add_user("watcher"))
    assert other == {"applications": {}, "runners": {}}
    blind = served_plane.plane.make_key(policy_preset="BILLING")
    assert first(blind) == {"applications": {}, "runners": {}}


def test_measurements_are_counted(served_plane: Any, app: str, done: str):
    """Requests are counted by their application, with how long they took and which failed."""
    with served_plane.client("run") as gateway:
        gateway.post(f"/owner/{app}/attempts", json={"statuses": [500]})
    traffic = served_plane.plane.plane.decider.traffic
    served_plane.plane.run(traffic.store())
    with served_plane.plane.client() as client:
        path = f"/dashboard/applications/{app}/measurements"
        told = client.get(path, params={"span": "hours"}).json()
        assert client.get(path, params={"span": "odd"}).status_code == 422
    rates = traffic.rates_of((served_plane.find(done).account_id, app))

    assert told["step"] == 300
    assert rates.errors >= 1
    assert rates.median is not None
    assert rates.slow is not None
    assert rates.slow >= rates.median


def test_tokens_for_applications_are_for_these(served_plane: Any, app: str, done: str):
    """
    A token for the page of an application, or for requests to it, is good at the gateways and
    for nothing of the account.
    """
    path = f"/dashboard/requests/{done}"
    with served_plane.plane.client() as client:
        url = client.post("/dashboard/playground", json={"application": app}).json()["url"]
        tokens = [
            url.partition("#fal-token=")[2],
            client.post("/tokens/", json={"allowed_apps": [app]}).json(),
        ]
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"}
        with served_plane.plane.client() as client:
            for method, where in (
                ("GET", "/dashboard/requests"),
                ("GET", path),
                ("GET", f"{path}/result"),
                ("POST", f"{path}/cancel"),
                ("POST", f"{path}/again"),
                ("POST", "/dashboard/playground"),
                ("POST", "/tokens/"),
            ):
                refused = client.request(method, where, headers=headers, json={})
                assert refused.status_code == 403, where
                assert "for something else" in refused.json()["detail"]
        with served_plane.client("run") as gateway:
            sent = gateway.post(f"/owner/{app}/text", headers=headers, json={})
            assert sent.status_code == 200
