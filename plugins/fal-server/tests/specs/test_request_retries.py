"""Retries: which queued requests are attempted again, and how often."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import grpc
import pytest
from isolate_proto import controller_pb2 as wire

from fal_server.queue import attempts as queue_attempts
from fal_server.specs.request_retries import MOST
from fal_server_agent.networks.sockets import UNIX

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def app(served_plane):
    """The name of an application that says nothing of retries."""
    served_plane.deploy("plain")
    return "plain"


@pytest.fixture
def quick(monkeypatch):
    """Attempts that follow one another at once."""
    monkeypatch.setattr(queue_attempts, "_LONGEST_PAUSE", 0.01)


def ask(served_plane, app, *statuses, told=None, key=None, **headers):
    """
    Return the answer to a request whose attempts are answered with *statuses*, and how
    many there were.
    """
    body = {"statuses": statuses, "headers": told or {}}
    request = served_plane.submit(f"{app}/attempts", body, key=key, **headers)
    answer = served_plane.finish(app, request)
    return answer, served_plane.status(app, request).json()["attempts"]


def runner_of(served_plane, app):
    return ask(served_plane, app, 200)[0].json()["pid"]


@pytest.mark.parametrize("status", [503, 504])
def test_answers_of_a_runner_at_fault_are_tried_again(served_plane, app, status):
    """
    A request that a runner answers with 503 or 504 is given to a runner once more; one
    that has answered 503 has ended by then.
    """
    before = runner_of(served_plane, app)
    answer, attempts = ask(served_plane, app, status, 200)
    assert (answer.status_code, answer.json()["attempt"], attempts) == (200, 2, 2)
    assert (answer.json()["pid"] == before) == (status == 504)


@pytest.mark.parametrize("status", [200, 400, 422, 429, 500, 502])
def test_other_answers_are_passed_on(served_plane, app, status):
    """Any other answer is the application's own, and its runner stays."""
    before = runner_of(served_plane, app)
    answer, attempts = ask(served_plane, app, status, 200)
    assert (answer.status_code, attempts) == (status, 1)
    assert answer.json()["pid"] == before == runner_of(served_plane, app)


@pytest.mark.parametrize(
    ("status", "asked", "attempts"),
    [(500, "1", 2), (429, "true", 2), (422, "1", 1), (200, "1", 1), (503, "0", 1)],
)
def test_header_that_decides_a_retry(served_plane, app, status, asked, attempts):
    """
    A header of a 5xx or 429 response decides whether the request is retried; the header is
    not forwarded.
    """
    answer, seen = ask(served_plane, app, status, 200, told={"X-Fal-Needs-Retry": asked})
    assert seen == attempts
    assert answer.status_code == (200 if attempts == 2 else status)
    assert "x-fal-needs-retry" not in answer.headers


@pytest.mark.parametrize(("status", "asked", "stays"), [(503, "0", True), (200, "1", False)])
def test_header_that_ends_the_runner(served_plane, app, status, asked, stays):
    """
    A header of a response decides whether the runner stays or ends, for every way of
    calling it; the header is not forwarded.
    """
    before = runner_of(served_plane, app)
    told = {"X-Fal-Stop-Runner": asked, "X-Fal-Needs-Retry": "0"}
    body = {"statuses": [status], "headers": told}
    for listener in ("queue", "run"):
        if listener == "queue":
            answer, _ = ask(served_plane, app, status, told=told)
        else:
            with served_plane.client("run") as client:
                answer = client.post(f"/owner/{app}/attempts", json=body)
        assert answer.status_code == status
        assert "x-fal-stop-runner" not in answer.headers
        after = runner_of(served_plane, app)
        assert (after == before) == stays
        before = after


def exchange(served_plane, listener, path, told):
    """Send a request through a gateway, and return its answer."""
    if listener == "queue":
        app, request = path.partition("/")[0], served_plane.submit(path, told)
        return served_plane.finish(app, request).json()
    if listener == "run":
        with served_plane.client("run") as client:
            return client.post(f"/owner/{path}", json=told).json()

    async def talk():
        url = f"ws://127.0.0.1:{served_plane.plane.plane.ports['ws']}/owner/{path}"
        shown = {"Authorization": f"Key {served_plane.plane.key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=shown) as connection,
        ):
            await connection.send_json(told)
            await connection.receive()
            return json.loads((await connection.receive()).data)

    return asyncio.run(talk())


@pytest.mark.parametrize("listener", ["queue", "run", "ws"])
def test_runner_ends_after_the_response_that_asks_for_it(served_plane, listener):
    """
    A runner gets no more requests as soon as the head of a response asks for its end, and
    is ended once that response is complete, however short its grace period is.
    """
    name = f"parting-{listener}"
    served_plane.deploy(name, max_multiplexing=2)
    before = runner_of(served_plane, name)
    pool = served_plane.plane.plane.catalog.find("owner", name).pool
    [runner] = pool.runners
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(
            exchange, served_plane, listener, f"{name}/part", {"gate": name}
        )
        try:
            served_plane.settle(lambda: not runner.is_running)
            assert runner_of(served_plane, name) != before
        finally:
            served_plane.open(name)
        assert answer.result() == {"pid": before}
    served_plane.settle(lambda: not runner.is_alive)


@pytest.mark.parametrize("listener", ["run", "ws"])
def test_request_that_its_runner_never_got_goes_to_another(
    served_plane, tmp_path, monkeypatch, listener
):
    """
    A request for which a runner is chosen that ends before it gets the request is given to
    another runner.
    """
    # The runner ends before that, however slow this machine is.
    monkeypatch.setattr("fal_server.fleet.disconnections._LAST_WORDS", 100.0)
    name = f"gone-{listener}"
    served_plane.deploy(name)
    before = runner_of(served_plane, name)
    [runner] = served_plane.plane.plane.catalog.find("owner", name).pool.runners
    runner.url = f"{UNIX}{tmp_path / 'nobody'}"
    with ThreadPoolExecutor(1) as threads:
        told = {"statuses": [200]}
        answer = threads.submit(exchange, served_plane, listener, f"{name}/attempts", told)
        served_plane.settle(lambda: runner.in_flight or answer.done())
        served_plane.plane.here(runner.kill)
        found = answer.result()
    assert (found["attempt"], found["pid"] == before) == (1, False)


def test_a_request_that_takes_too_long_is_tried_again(served_plane):
    """A request that takes longer than its application allows is given to another runner."""
    served_plane.deploy("slow", request_timeout=5)
    before = runner_of(served_plane, "slow")
    answer, attempts = ask(served_plane, "slow", 0, 200)
    assert (answer.status_code, attempts) == (200, 2)
    assert answer.json()["pid"] != before


def test_conditions_that_are_skipped(served_plane):
    """
    An application that skips a condition has one attempt for it, and others for the
    rest.
    """

    def skip(*conditions):
        return lambda request: request.skip_retry_conditions.extend(conditions)

    served_plane.deploy("unsaid", change=skip(wire.TIMEOUT), request_timeout=5)
    answer, attempts = ask(served_plane, "unsaid", 0, 200)
    assert (answer.status_code, answer.json()["error_type"]) == (504, "request_timeout")
    assert attempts == 1
    assert ask(served_plane, "unsaid", 504, 200)[1] == 2
    served_plane.deploy("faulty", change=skip(wire.SERVER_ERROR))
    assert ask(served_plane, "faulty", 503, 200)[1] == 1
    died = served_plane.submit("faulty/die", {"times": 1})
    assert served_plane.finish("faulty", died).json()["error_type"] == "runner_disconnected"
    assert served_plane.status("faulty", died).json()["attempts"] == 1


def test_budgets_of_conditions(served_plane, quick):
    """
    Each condition has as many further attempts as the application says, or the owner
    for a request; what others say is passed over, whether it makes sense or not.
    """
    bob = served_plane.plane.add_user("bob")

    def change(request):
        request.retry_config = '{"server_error": {"retries": 1}, "timeout": {"retries": 0}}'

    served_plane.deploy("bounded", change=change, auth_mode=wire.SHARED, request_timeout=5)
    for headers, key, attempts in [
        ({}, None, 2),
        ({"X_Fal_Retry_Config": '{"server_error": {"retries": 2}}'}, None, 3),
        ({"X_Fal_Retry_Config": '{"server_error": {"retries": 2}}'}, bob, 2),
        ({"X_Fal_Retry_Config": '{"server_error": 2}'}, bob, 2),
        ({"X_Fal_Retry_Config": '{"server_error": {"retries": 2}}', **ONCE}, None, 1),
    ]:
        answer, seen = ask(served_plane, "bounded", 504, key=key, **headers)
        assert (answer.status_code, seen) == (504, attempts), headers
    assert ask(served_plane, "bounded", 0, 200)[1] == 1


ONCE = {"X_Fal_No_Retry": "1"}


def test_most_attempts(served_plane, app, quick):
    """The number of attempts is limited, and the response states how many were made."""
    many = json.dumps({"server_error": {"retries": 99}})
    answer, attempts = ask(served_plane, app, 504, X_Fal_Retry_Config=many)
    assert (answer.status_code, answer.json()["attempt"], attempts) == (504, MOST, MOST)


def test_attempts_end_with_the_time_of_a_request(served_plane, app):
    """
    The time that a sender gives a request to be begun is counted from its first attempt
    on.
    """
    runner_of(served_plane, app)
    answer, attempts = ask(served_plane, app, 504, X_Fal_Request_Timeout="6")
    assert answer.json()["error_type"] == "startup_timeout"
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    assert 1 < attempts < MOST


def test_one_attempt_is_one_where_the_server_ends_meanwhile(served_plane, app):
    """A request with a single attempt fails if a runner has it when the server ends."""
    once = served_plane.submit(f"{app}/hold", {"gate": "gate of once"}, **ONCE)
    served_plane.begin(app, once)
    served_plane.restart()
    answer = served_plane.finish(app, once)
    served_plane.open("gate of once")
    assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
    assert served_plane.status(app, once).json()["attempts"] == 1


def test_retries_are_those_of_the_revision(served_plane, quick):
    """They are known after a restart, and another revision says others."""

    def never(request):
        request.retry_config = '{"server_error": {"retries": 0}}'

    served_plane.deploy("changing", change=never)
    served_plane.restart()
    assert ask(served_plane, "changing", 504, 200)[1] == 1
    served_plane.deploy("changing")
    assert ask(served_plane, "changing", 504, 200)[1] == 2


@pytest.mark.parametrize(
    "config",
    ["{", "[]", '{"often": {"retries": 1}}', '{"timeout": 1}', "[" * 5000],
    ids=["half", "list", "condition", "number", "deep"],
)
def test_invalid_retry_config_is_refused(served_plane, config):
    """An invalid retry configuration is refused at deployment."""

    def change(request):
        request.retry_config = config

    with pytest.raises(grpc.RpcError, match="A retry config looks like"):
        served_plane.deploy("wrong", change=change)
