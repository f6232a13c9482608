"""The queue: requests that are accepted now and answered later."""

from __future__ import annotations

import asyncio

from isolate_proto import controller_pb2 as wire


def test_nothing_is_taken_from_other_replicas_at_the_end(planes, tmp_path):
    """A queue that is told of requests while its server ends leaves them for who decides next."""
    plane = planes.Plane(tmp_path / "data")
    queue = plane.plane.queue

    async def end() -> set:
        await queue.close()
        before = asyncio.all_tasks()
        queue.take_arrivals()
        return asyncio.all_tasks() - before

    try:
        assert plane.run(end()) == set()
    finally:
        plane.close()


def test_low_priority_waits_behind_normal(served_plane, app, held):
    """Requests run in the order they came, and those of low priority after all others."""
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
    """The owner sees how many requests wait, by sender, and drops all or those of one sender."""
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
    """A request that gets no runner within its start timeout fails with a 504."""
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
