"""
The queue gateway: how requests are submitted, followed and cancelled, and who may do so.
"""

from __future__ import annotations

from typing import Any

from isolate_proto import controller_pb2 as wire


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


def test_waiting_request_is_cancelled(served_plane, app, held):
    """
    A request that is cancelled while it waits never reaches the application.
    """
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


def test_request_is_visible_to_its_sender_and_the_owner(served_plane, app):
    """
    Only its sender and the owner see a request to a shared application.
    """
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
    """
    A queued request is stored without the credentials of its sender.
    """
    id, _, secret = served_plane.plane.key.partition(":")
    request = served_plane.submit(
        mirror, auth_key=secret, auth_key_id=id, x_fal_user_id="user|7"
    )
    kept = {name.lower() for name, _ in served_plane.find(request).headers}
    assert not {"auth-key", "auth-key-id", "authorization", "x-fal-user-id"} & kept
    served_plane.finish(mirror, request)
