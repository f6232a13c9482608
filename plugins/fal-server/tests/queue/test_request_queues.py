"""
The queue: requests that are accepted now and answered later.
"""

from __future__ import annotations

import sqlite3

import pytest
from isolate_proto import controller_pb2 as wire


@pytest.fixture(scope="module")
def app(stage):
    """
    The name of an application with one runner, which handles one request at a time.
    """
    stage.deploy("app")
    return "app"


@pytest.fixture
def held(stage, app, request):
    """
    A request that occupies the runner, and the gate that ends it.
    """
    gate = f"gate of {request.node.name}"
    holder = stage.submit(f"{app}/hold", {"gate": gate})
    stage.begin(app, holder)
    yield holder, gate
    stage.open(gate)
    stage.finish(app, holder)


def test_request_is_followed_until_its_answer(stage, app, held):
    """
    A request waits, runs and completes. One released client reads the status code, with a
    slash at the end of the URL; the other reads the body, at the URLs of the response.
    """
    holder, gate = held
    with stage.client() as client:
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
        stage.open(gate)
        answer = stage.finish(app, submitted["request_id"])
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


def test_answer_of_an_application_is_passed_on(stage, app):
    """
    Errors of the application, and bodies that are not JSON, arrive unchanged.
    """
    failed, text = stage.submit(f"{app}/fail"), stage.submit(f"{app}/text")
    answer = stage.finish(app, failed)
    assert (answer.status_code, answer.json()) == (422, {"detail": "It is wrong."})
    assert stage.status(app, failed).json()["error"] == "It is wrong."
    answer = stage.finish(app, text)
    assert (answer.headers["content-type"], answer.text) == ("text/plain", "words")


def test_low_priority_waits_behind_normal(stage, app, held):
    """
    Requests run in the order they came, and those of low priority after all others.
    """
    _, gate = held
    low = stage.submit(app, {"name": "low"}, X_Fal_Queue_Priority="low")
    first = stage.submit(app, {"name": "first"}, X_Fal_Queue_Priority="normal")
    second = stage.submit(app, {"name": "second"})
    positions = [stage.status(app, each).json()["queue_position"] for each in (first, second)]
    assert positions == [0, 1]
    assert stage.status(app, low).json()["queue_position"] == 2
    stage.open(gate)
    for each in (low, first, second):
        assert stage.finish(app, each).status_code == 200
    assert stage.order()[-3:] == ["echo first", "echo second", "echo low"]
    with stage.client() as client:
        refused = client.post(f"/owner/{app}", json={}, headers={"X-Fal-Queue-Priority": "now"})
    assert refused.status_code == 422


def test_waiting_request_is_cancelled(stage, app, held):
    """
    A request that is cancelled while it waits never reaches the application.
    """
    _, gate = held
    dropped = stage.submit(app, {"name": "dropped"})
    url = f"/owner/{app}/requests/{dropped}"
    with stage.client() as client:
        assert client.put(f"{url}/cancel").status_code == 202
        status = client.get(f"{url}/status")
        assert (status.status_code, status.json()["error_type"]) == (200, "client_cancelled")
        result = client.get(url)
        assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")
        again = client.put(f"{url}/cancel")
        assert (again.status_code, again.json()["status"]) == (400, "ALREADY_COMPLETED")
    stage.open(gate)
    stage.finish(app, stage.submit(app, {"name": "behind it"}))
    assert "echo dropped" not in stage.order()


def test_runner_is_told_of_a_cancelled_request(stage, app, held):
    """
    The application is told that a running request was cancelled, and its response is kept.
    """
    holder, _ = held
    url = f"/owner/{app}/requests/{holder}"
    with stage.client() as client:
        assert client.put(f"{url}/cancel").status_code == 202
    assert stage.finish(app, holder).json() == {"cancelled": True}


def test_size_and_flush(stage, app, held):
    """
    The owner sees how many requests wait, by sender, and drops all or those of one sender.
    """
    holder, _ = held
    waiting = [stage.submit(app) for _ in range(3)]
    url = f"/applications/owner/{app}/queue"
    with stage.plane.client() as client:
        queue = client.get(url, params={"by_user": True}).json()
        assert (queue["size"], list(queue["by_user"].values())) == (3, [3])
        (sender,) = queue["by_user"]
        assert client.delete(url, params={"caller_user_id": "nobody"}).status_code == 200
        assert client.get(url).json()["size"] == 3
        assert client.delete(url, params={"caller_user_id": sender}).status_code == 200
        assert client.get(url).json()["size"] == 0
        waiting.append(stage.submit(app))
        assert client.delete(url).status_code == 200
        assert client.get(url).json()["size"] == 0
    assert {stage.status(app, each).json()["error_type"] for each in waiting} == {
        "client_cancelled"
    }
    assert stage.status(app, holder).json()["status"] == "IN_PROGRESS"


def test_request_whose_start_timeout_is_over(stage, app, held):
    """
    A request that gets no runner within its start timeout fails with a 504.
    """
    late = stage.submit(app, {"name": "late"}, X_Fal_Request_Timeout="0.05")
    answer = stage.finish(app, late)
    assert (answer.status_code, answer.json()["error_type"]) == (504, "startup_timeout")
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    assert "in time" in stage.status(app, late).json()["error"]
    assert "echo late" not in stage.order()


def test_runner_that_breaks_off(stage, app):
    """
    A request whose runner breaks off is retried on another, as often as its sender asks.
    The runner is told the number of the attempt.
    """
    once = stage.submit(f"{app}/die", {"times": 1})
    twice = '{"server_error": {"retries": 2}}'
    always = stage.submit(f"{app}/die", {"times": 9}, X_Fal_Retry_Config=twice)
    never = stage.submit(f"{app}/die", {"times": 1}, X_Fal_No_Retry="1")
    assert stage.finish(app, once).json() == {"attempt": 2}
    assert stage.status(app, once).json()["attempts"] == 2
    answer = stage.finish(app, always)
    assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
    assert answer.headers["x-fal-error-type"] == "runner_disconnected"
    assert stage.status(app, always).json()["attempts"] == 3
    assert stage.finish(app, never).status_code == 503
    assert stage.status(app, never).json()["attempts"] == 1


def test_requests_outlive_the_server(stage, app, held):
    """
    The next server answers accepted requests in their order. One that a runner had is
    attempted again, and counts the attempt.
    """
    holder, gate = held
    low = stage.submit(app, {"name": "low later"}, X_Fal_Queue_Priority="low")
    normal = stage.submit(app, {"name": "normal later"})
    stage.restart()
    stage.open(gate)
    assert stage.finish(app, low).json()["told"] == {"name": "low later"}
    assert stage.finish(app, normal).status_code == 200
    assert stage.order()[-2:] == ["echo normal later", "echo low later"]
    assert stage.finish(app, holder).json() == {"cancelled": False}
    assert stage.status(app, holder).json()["attempts"] == 2
    assert stage.status(app, normal).json()["attempts"] == 1


def test_request_that_waits_for_another_attempt_is_cancelled(stage, app, held):
    """
    A request that lost its runner and waits for another is dropped when it is cancelled,
    like one that never had a runner.
    """
    holder, gate = held
    other = stage.submit(f"{app}/hold", {"gate": gate})
    requests = stage.plane.plane.queue.requests
    stage.plane.run(requests.change(other, state="running", attempts=1))
    stage.restart()
    with stage.client() as client:
        # The holder came first, so it gets the runner again.
        stage.begin(app, holder)
        assert client.put(f"/owner/{app}/requests/{other}/cancel").status_code == 202
    assert stage.status(app, other).json()["error_type"] == "client_cancelled"


def test_request_is_visible_to_its_sender_and_the_owner(stage, app):
    """
    Only its sender and the owner see a request to a shared application.
    """
    bob, eve = stage.plane.add_user("bob"), stage.plane.add_user("eve")
    stage.deploy("shared", auth_mode=wire.SHARED)
    request = stage.submit("shared", {"n": 1}, key=bob)
    stage.finish("shared", request)
    url = f"/owner/shared/requests/{request}"
    for key, code in ((bob, 200), (eve, 404), (stage.plane.key, 200), ("", 401)):
        with stage.client(key=key) as client:
            assert client.get(url).status_code == code, key
    with stage.client(key=bob) as client:
        assert client.get(f"/owner/{app}/requests/{request}").status_code == 404
        assert client.post(f"/owner/{app}", json={}).status_code == 404


def test_requests_to_an_application_that_is_removed(stage):
    """
    Requests that wait when an application is removed are still answered by its runner.
    Later ones are refused.
    """
    stage.deploy("removed")
    holder = stage.submit("removed/hold", {"gate": "gate of removed"})
    stage.begin("removed", holder)
    waiting = stage.submit("removed")
    stage.plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="removed"))
    with stage.client() as client:
        assert client.post("/owner/removed", json={}).status_code == 404
    stage.open("gate of removed")
    for each in (holder, waiting):
        stage.settle(lambda each=each: stage.find(each).is_over)
        assert stage.find(each).status == 200


def test_trace_of_the_caller_reaches_the_function(stage, app):
    """
    The trace context of the caller reaches the application through the queue, and through
    the run gateway.
    """
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = {"traceparent": trace, "tracestate": "vendor=1", "baggage": "k=v"}
    queued = stage.submit(app, {}, **context)
    with stage.client("run") as client:
        answers = [
            stage.finish(app, queued),
            client.post(f"/owner/{app}", json={}, headers=context),
        ]
    for answer in answers:
        assert "headers" in answer.json(), answer.text
        headers = {k.lower(): v for k, v in answer.json()["headers"].items()}
        assert {name: headers[name] for name in context} == context
        assert "authorization" not in headers


def test_start_timeout_across_a_restart(stage):
    """
    The time in which no server ran counts towards the start timeout of a request.
    """
    stage.deploy("occupied")
    held = stage.submit("occupied/hold", {"gate": "occupied"})
    stage.begin("occupied", held)
    waiting = stage.submit("occupied", X_Fal_Request_Timeout="3600")
    stage.plane.close()
    with sqlite3.connect(stage.plane.settings.data / "state.db") as connection:
        earlier = "update requests set submitted_at = submitted_at - 7200 where id = ?"
        connection.execute(earlier, (waiting,))
    connection.close()
    stage.plane = stage._start()
    assert stage.finish("occupied", waiting).status_code == 504
    stage.open("occupied")
    assert stage.finish("occupied", held).status_code == 200
