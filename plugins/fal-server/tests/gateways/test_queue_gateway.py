"""The queue gateway: how requests are submitted, followed and cancelled, and who may do so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import pytest
from isolate_proto import controller_pb2 as wire

from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool


def test_request_is_followed_until_its_answer(served_plane, app, held):
    """
    A request waits, runs and completes. One released client reads the status code, with a
    slash at the end of the URL; the other reads the body, at the URLs of the response.
    """
    holder, gate = held
    with served_plane.client() as client:
        submitted = client.post(
            f"/owner/{app}/sub/a%2Fb%3Fc?x=1&x=2&y=%20%26&fal_webhook=", json={"n": 2}
        ).json()
        assert (submitted["status"], submitted["queue_position"]) == ("IN_QUEUE", 0)
        url = f"/owner/{app}/requests/{submitted['request_id']}"
        assert submitted["response_url"].endswith(url)
        assert submitted["status_url"] == submitted["response_url"] + "/status"
        assert submitted["cancel_url"] == submitted["response_url"] + "/cancel"
        for form in ("/status", "/status/?logs=1"):
            waiting = client.get(url + form)
            assert waiting.status_code == 202
            assert waiting.json()["status"] == "IN_QUEUE"
            assert ("logs=1" in form) == (waiting.json()["logs"] is not None)
        running = client.get(f"/owner/{app}/requests/{holder}/status")
        assert (running.status_code, running.json()["status"]) == (202, "IN_PROGRESS")
        assert client.get(url).status_code == client.get(url + "/").status_code == 400
        served_plane.open(gate)
        answer = served_plane.finish(app, submitted["request_id"])
        assert answer.json()["told"] == {"n": 2}
        assert answer.json()["path"] == "/sub/a%2Fb%3Fc?x=1&x=2&y=%20%26"
        assert answer.headers["x-fal-billable-units"] == "3"
        assert answer.headers["x-fal-request-id"] == submitted["request_id"]
        completed = client.get(url + "/status")
        assert (completed.status_code, completed.json()["status"]) == (200, "COMPLETED")
        assert completed.json()["attempts"] == 1
        assert completed.json()["metrics"]["inference_time"] >= 0
        assert "error" not in completed.json()
        assert client.get(url + "/").content == answer.content


def test_lines_of_a_request_have_labels(served_plane, app):
    """Each line in the status of a request says of which request it is."""
    request = served_plane.submit(f"{app}/say", {"word": "sesame"})
    served_plane.finish(app, request)
    with served_plane.client() as client:

        def lines() -> list[Any]:
            answer = client.get(f"/owner/{app}/requests/{request}/status?logs=1")
            return [each for each in answer.json()["logs"] if "sesame" in each["message"]]

        # What a runner prints goes another way than its answer.
        served_plane.settle(lines)
        [line] = lines()
    assert line["labels"] == {"fal_request_id": request}


def test_waiting_request_is_cancelled(served_plane, app, held):
    """A request that is cancelled while it waits never reaches the application."""
    _, gate = held
    dropped = served_plane.submit(app, {"name": "dropped"})
    url = f"/owner/{app}/requests/{dropped}"
    with served_plane.client() as client:
        assert client.put(f"{url}/cancel").status_code == 202
        status = client.get(f"{url}/status")
        assert (status.status_code, status.json()["error_type"]) == (200, "client_cancelled")
        result = client.get(url)
        assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")
        again = client.put(f"{url}/cancel")
        assert (again.status_code, again.json()["status"]) == (400, "ALREADY_COMPLETED")
    served_plane.open(gate)
    served_plane.finish(app, served_plane.submit(app, {"name": "behind it"}))
    assert "echo dropped" not in served_plane.order()


@pytest.mark.parametrize("auth_mode", [wire.PRIVATE, wire.PUBLIC])
def test_key_that_only_reads_cancels_nothing(served_plane, app, held, auth_mode):
    """Cancelling takes the permission to send requests, even where anybody may send them."""
    _, gate = held
    alias = f"{app}-{auth_mode}"
    served_plane.deploy(alias, auth_mode=auth_mode)
    waiting = served_plane.submit(f"{alias}/hold", {"gate": gate})
    reader = served_plane.plane.make_key(policy_preset="READONLY")
    url = f"/owner/{alias}/requests/{waiting}"
    with served_plane.client(key=reader) as client:
        assert client.get(f"{url}/status").status_code == 202
        for method in ("PUT", "POST"):
            refused = client.request(method, f"{url}/cancel")
            assert refused.status_code == 403
            assert "models:requests:submit" in refused.json()["detail"]
    served_plane.open(gate)
    assert served_plane.finish(alias, waiting).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_method_that_reads_submits_nothing(served_plane, app, method):
    """Browsers and caches send some requests by themselves, and none of them runs anything."""
    with served_plane.client() as client:
        for path in ("", "/sub/path", "/requests"):
            refused = client.request(method, f"/owner/{app}{path}")
            assert refused.status_code == 405
            assert "POST" in refused.headers["allow"]
    before = len(served_plane.order())
    served_plane.finish(app, served_plane.submit(app))
    assert len(served_plane.order()) == before + 1


def test_request_is_visible_to_its_sender_and_the_owner(served_plane, app):
    """Only its sender and the owner see a request to a shared application."""
    bob, eve = served_plane.plane.add_user("bob"), served_plane.plane.add_user("eve")
    served_plane.deploy("shared", auth_mode=wire.SHARED)
    request = served_plane.submit("shared", {"n": 1}, key=bob)
    served_plane.finish("shared", request)
    url = f"/owner/shared/requests/{request}"
    for key, code in ((bob, 200), (eve, 404), (served_plane.plane.key, 200), ("", 401)):
        with served_plane.client(key=key) as client:
            assert client.get(url).status_code == code, key
    with served_plane.client(key=bob) as client:
        assert client.get(f"/owner/{app}/requests/{request}").status_code == 404
        assert client.post(f"/owner/{app}", json={}).status_code == 404


def test_credentials_are_not_stored(served_plane: Any, mirror: str):
    """A queued request is stored without the credentials of its sender."""
    id, _, secret = served_plane.plane.key.partition(":")
    request = served_plane.submit(
        mirror, auth_key=secret, auth_key_id=id, x_fal_user_id="user|7"
    )
    kept = {name.lower() for name, _ in served_plane.find(request).headers}
    assert not {"auth-key", "auth-key-id", "authorization", "x-fal-user-id"} & kept
    served_plane.finish(mirror, request)


def add_closed(plane: Any) -> None:
    """Add an application that can have no runners."""
    with plane.client() as client:
        account = client.get("/users/current").json()["user_id"]
    application = Application(
        owner=account,
        owner_name="owner",
        alias="closed",
        auth_mode=wire.SHARED,
        pool=make_closed_pool(),
        ephemeral=True,
    )
    plane.here(lambda: plane.plane.catalog.add_ephemeral(application))


@pytest.fixture
def closed(plane: Any) -> Iterator[httpx.Client]:
    """A client of the queue for an application that can have no runners."""
    add_closed(plane)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{plane.plane.ports['queue']}/owner/closed",
        headers={"Authorization": f"Key {plane.key}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client


def test_request_that_no_runner_takes(plane, closed, settle):
    """
    A request for which there is no runner completes with that error, as its response and in
    its status, at the URLs that the submission names.
    """
    submitted = closed.post("/some/path", content=b"words").json()
    urls = (submitted["status_url"], submitted["response_url"])
    settle(lambda: closed.get(urls[0]).status_code == 200)
    status = closed.get(urls[0]).json()
    assert (status["status"], status["attempts"]) == ("COMPLETED", 0)
    assert status["error_type"] == "runner_scheduling_failure"
    assert status["metrics"] == {"inference_time": None}
    response = closed.get(urls[1])
    assert (response.status_code, response.json()["detail"]) == (503, status["error"])
    assert response.headers["x-fal-error-type"] == "runner_scheduling_failure"
    assert closed.put(submitted["cancel_url"]).json() == {"status": "ALREADY_COMPLETED"}


def test_body_that_is_too_large_for_the_queue(plane, closed, monkeypatch):
    """A body over the limit is refused, whether its length is known in advance or not."""
    reception = plane.plane.queue.reception
    limits = attrs.evolve(reception.limits, largest_queued_body=10)
    monkeypatch.setattr(reception, "limits", limits)
    for content in (b"a" * 11, iter([b"a" * 6, b"a" * 6])):
        refused = closed.post("/", content=content)
        assert (refused.status_code, "10 bytes" in refused.text) == (413, True)
    assert closed.post("/", content=b"a" * 10).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/requests/{id}/logs"),
        ("GET", "/requests/{id}/status/stream"),
        ("POST", "/requests/{id}/status"),
        ("DELETE", "/requests/{id}"),
        ("GET", "/requests/{id}/cancel"),
    ],
)
def test_route_that_queued_requests_do_not_have(closed, method, path):
    """
    Requests that are not there are not found, and routes that they do not have are not
    implemented; nothing is submitted instead.
    """
    id = closed.post("/").json()["request_id"]
    response = closed.request(method, path.format(id=id))
    assert response.status_code == 501
    assert "does not have this route of queued requests" in response.json()["detail"]
    response = closed.request(method, path.format(id="none"))
    assert response.status_code == 404
    assert response.json()["detail"] == "There is no such request."


@pytest.mark.parametrize(
    "headers", [{"X-Fal-Request-Timeout": "soon"}, {"X-Fal-Queue-Priority": "now"}]
)
def test_header_that_is_not_valid_is_refused_at_once(closed, headers):
    """A header that no runner could be found with is refused when the request is submitted."""
    assert closed.post("/", headers=headers).status_code == 422


@pytest.mark.parametrize("config", ["[" * 5000, "{", '{"bored": {"retries": 1}}'])
def test_unusable_retries_are_refused(served_plane: Any, mirror: str, config: str):
    """
    The owner of an application is told that a header with numbers of retries is of no use;
    that of anybody else is ignored.
    """
    headers = {"X-Fal-Retry-Config": config}
    with served_plane.client() as client:
        refused = client.post(f"/owner/{mirror}", json={}, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("A retry config looks like")
    with served_plane.client(key="") as client:
        assert client.post(f"/owner/{mirror}", json={}, headers=headers).status_code == 200


def test_urls_of_a_request_that_came_through_a_proxy(make_plane):
    """
    A proxy that speaks TLS with clients may reach the server in plain text: the URLs of a
    request are encrypted all the same, if its host is the public one.
    """
    plane = make_plane(public={"queue": "queue.example"})
    add_closed(plane)
    url = f"http://127.0.0.1:{plane.plane.ports['queue']}/owner/closed"
    key = {"Authorization": f"Key {plane.key}"}
    with httpx.Client(headers=key, trust_env=False) as client:
        through = client.post(url, headers={"Host": "queue.example"}).json()
        assert through["status_url"].startswith("https://queue.example/owner/closed/requests/")
        assert client.post(url).json()["status_url"].startswith(url)
