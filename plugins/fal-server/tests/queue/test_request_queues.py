"""
The queue: requests that are accepted now and answered later.
"""

from __future__ import annotations

import sqlite3

import pytest
from isolate_proto import controller_pb2 as wire


@pytest.fixture(scope="module")
def app(served_plane):
    """
    The name of an application with one runner, which handles one request at a time.
    """
    served_plane.deploy("app")
    return "app"


@pytest.fixture
def held(served_plane, app, request):
    """
    A request that occupies the runner, and the gate that ends it.
    """
    gate = f"gate of {request.node.name}"
    holder = served_plane.submit(f"{app}/hold", {"gate": gate})
    served_plane.begin(app, holder)
    yield holder, gate
    served_plane.open(gate)
    served_plane.finish(app, holder)


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


def test_answer_of_an_application_is_passed_on(served_plane, app):
    """
    Errors of the application, and bodies that are not JSON, arrive unchanged.
    """
    failed, text = served_plane.submit(f"{app}/fail"), served_plane.submit(f"{app}/text")
    answer = served_plane.finish(app, failed)
    assert (answer.status_code, answer.json()) == (422, {"detail": "It is wrong."})
    assert served_plane.status(app, failed).json()["error"] == "It is wrong."
    answer = served_plane.finish(app, text)
    assert (answer.headers["content-type"], answer.text) == ("text/plain", "words")


def test_low_priority_waits_behind_normal(served_plane, app, held):
    """
    Requests run in the order they came, and those of low priority after all others.
    """
    _, gate = held
    low = served_plane.submit(app, {"name": "low"}, X_Fal_Queue_Priority="low")
    first = served_plane.submit(app, {"name": "first"}, X_Fal_Queue_Priority="normal")
    second = served_plane.submit(app, {"name": "second"})
    positions = [
        served_plane.status(app, each).json()["queue_position"] for each in (first, second)
    ]
    assert positions == [0, 1]
    assert served_plane.status(app, low).json()["queue_position"] == 2
    served_plane.open(gate)
    for each in (low, first, second):
        assert served_plane.finish(app, each).status_code == 200
    assert served_plane.order()[-3:] == ["echo first", "echo second", "echo low"]
    with served_plane.client() as client:
        refused = client.post(f"/owner/{app}", json={}, headers={"X-Fal-Queue-Priority": "now"})
    assert refused.status_code == 422


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


def test_application_is_notified_of_a_cancelled_request(served_plane, app, held):
    """
    The application is notified that a running request was cancelled, and its response is
    kept.
    """
    holder, _ = held
    url = f"/owner/{app}/requests/{holder}"
    with served_plane.client() as client:
        assert client.put(f"{url}/cancel").status_code == 202
    assert served_plane.finish(app, holder).json() == {"cancelled": True}


def test_size_and_flush(served_plane, app, held):
    """
    The owner sees how many requests wait, by sender, and drops all or those of one sender.
    """
    holder, _ = held
    waiting = [served_plane.submit(app) for _ in range(3)]
    url = f"/applications/owner/{app}/queue"
    with served_plane.plane.client() as client:
        queue = client.get(url, params={"by_user": True}).json()
        assert (queue["size"], list(queue["by_user"].values())) == (3, [3])
        (sender,) = queue["by_user"]
        assert client.delete(url, params={"caller_user_id": "nobody"}).status_code == 200
        assert client.get(url).json()["size"] == 3
        assert client.delete(url, params={"caller_user_id": sender}).status_code == 200
        assert client.get(url).json()["size"] == 0
        waiting.append(served_plane.submit(app))
        assert client.delete(url).status_code == 200
        assert client.get(url).json()["size"] == 0
    assert {served_plane.status(app, each).json()["error_type"] for each in waiting} == {
        "client_cancelled"
    }
    assert served_plane.status(app, holder).json()["status"] == "IN_PROGRESS"


def test_start_timeout_of_a_queued_request(served_plane, app, held):
    """
    A request that gets no runner within its start timeout fails with a 504.
    """
    late = served_plane.submit(app, {"name": "late"}, X_Fal_Request_Timeout="0.05")
    answer = served_plane.finish(app, late)
    assert (answer.status_code, answer.json()["error_type"]) == (504, "startup_timeout")
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    assert "in time" in served_plane.status(app, late).json()["error"]
    assert "echo late" not in served_plane.order()


def test_runner_that_breaks_off(served_plane, app):
    """
    A request whose runner breaks off is retried on another, as often as its sender asks.
    Each attempt carries its number.
    """
    once = served_plane.submit(f"{app}/die", {"times": 1})
    twice = '{"server_error": {"retries": 2}}'
    always = served_plane.submit(f"{app}/die", {"times": 9}, X_Fal_Retry_Config=twice)
    never = served_plane.submit(f"{app}/die", {"times": 1}, X_Fal_No_Retry="1")
    assert served_plane.finish(app, once).json() == {"attempt": 2}
    assert served_plane.status(app, once).json()["attempts"] == 2
    answer = served_plane.finish(app, always)
    assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
    assert answer.headers["x-fal-error-type"] == "runner_disconnected"
    assert served_plane.status(app, always).json()["attempts"] == 3
    assert served_plane.finish(app, never).status_code == 503
    assert served_plane.status(app, never).json()["attempts"] == 1


def test_requests_outlive_the_server(served_plane, app, held):
    """
    The next server answers accepted requests in their order. One that a runner had is
    attempted again, and counts the attempt.
    """
    holder, gate = held
    low = served_plane.submit(app, {"name": "low later"}, X_Fal_Queue_Priority="low")
    normal = served_plane.submit(app, {"name": "normal later"})
    served_plane.restart()
    served_plane.open(gate)
    assert served_plane.finish(app, low).json()["told"] == {"name": "low later"}
    assert served_plane.finish(app, normal).status_code == 200
    assert served_plane.order()[-2:] == ["echo normal later", "echo low later"]
    assert served_plane.finish(app, holder).json() == {"cancelled": False}
    assert served_plane.status(app, holder).json()["attempts"] == 2
    assert served_plane.status(app, normal).json()["attempts"] == 1


def test_request_that_waits_for_another_attempt_is_cancelled(served_plane, app, held):
    """
    A request that lost its runner and waits for another is dropped when it is cancelled,
    like one that never had a runner.
    """
    holder, gate = held
    other = served_plane.submit(f"{app}/hold", {"gate": gate})
    requests = served_plane.plane.plane.queue.requests
    served_plane.plane.run(requests.change(other, state="running", attempts=1))
    served_plane.restart()
    with served_plane.client() as client:
        # The holder came first, so it gets the runner again.
        served_plane.begin(app, holder)
        assert client.put(f"/owner/{app}/requests/{other}/cancel").status_code == 202
    assert served_plane.status(app, other).json()["error_type"] == "client_cancelled"


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


def test_requests_to_an_application_that_is_removed(served_plane):
    """
    Requests that wait when an application is removed are still answered by its runner.
    Later ones are refused.
    """
    served_plane.deploy("removed")
    holder = served_plane.submit("removed/hold", {"gate": "gate of removed"})
    served_plane.begin("removed", holder)
    waiting = served_plane.submit("removed")
    served_plane.plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="removed"))
    with served_plane.client() as client:
        assert client.post("/owner/removed", json={}).status_code == 404
    served_plane.open("gate of removed")
    for each in (holder, waiting):
        served_plane.settle(lambda each=each: served_plane.find(each).is_over)
        assert served_plane.find(each).status == 200


def test_trace_of_the_caller_reaches_the_function(served_plane, app):
    """
    The trace context of the caller reaches the application through the queue, and through
    the run gateway.
    """
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = {"traceparent": trace, "tracestate": "vendor=1", "baggage": "k=v"}
    queued = served_plane.submit(app, {}, **context)
    with served_plane.client("run") as client:
        answers = [
            served_plane.finish(app, queued),
            client.post(f"/owner/{app}", json={}, headers=context),
        ]
    for answer in answers:
        assert "headers" in answer.json(), answer.text
        headers = {k.lower(): v for k, v in answer.json()["headers"].items()}
        assert {name: headers[name] for name in context} == context
        assert "authorization" not in headers


def test_start_timeout_across_a_restart(served_plane):
    """
    The time in which no server ran counts towards the start timeout of a request.
    """
    served_plane.deploy("occupied")
    held = served_plane.submit("occupied/hold", {"gate": "occupied"})
    served_plane.begin("occupied", held)
    waiting = served_plane.submit("occupied", X_Fal_Request_Timeout="3600")
    served_plane.plane.close()
    with sqlite3.connect(served_plane.plane.settings.data / "state.db") as connection:
        earlier = "update requests set submitted_at = submitted_at - 7200 where id = ?"
        connection.execute(earlier, (waiting,))
    connection.close()
    served_plane.plane = served_plane._start()
    assert served_plane.finish("occupied", waiting).status_code == 504
    served_plane.open("occupied")
    assert served_plane.finish("occupied", held).status_code == 200
