"""Laws of services: functions that are reached from outside."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fal_core.errors import WorkerLost
from fal_core.events import Log, Ready
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_cancelled, result_of
from fal_testing.harness.marks import Isolated
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Follow
from fal_testing.harness.requests import Response, ask, is_served

LOOK = (
    "Launch `call.at_ports(...)`, and turn what the service announces into Ready, with a URL "
    "that works from here."
)


@requires("serve")
def test_a_served_function_answers_at_its_url(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A served function answers at the URL that its host reports, from then on."""

    @served()
    def welcome() -> dict[str, str]:
        return {"hello": "there"}

    url = follow(welcome).wait_for_url(law_timeout)
    for number in ("first", "second"):
        answer = ask(url, law_timeout)
        expected = Response(200, {"hello": "there"})
        expect(answer, expected, f"The {number} response of a served function", LOOK)


@requires("serve")
def test_a_service_says_when_it_is_ready(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A service is running before it is ready, and enters the phase once."""

    @served()
    def greet() -> str:
        return "hello"

    recorder = follow(greet)
    recorder.wait_for_url(law_timeout)
    # The phase and the URL are two events, in either order.
    wait_until(lambda: "ready" in recorder.phases, law_timeout)
    look = (
        "Send State('ready') with Ready, once for each service. These events came: "
        f"{recorder.told}."
    )
    phases = [name for name in recorder.phases if name in ("running", "ready")]
    expect(phases, ["running", "ready"], "The phases of a service", look)
    announced = len([event for event in recorder.events if isinstance(event, Ready)])
    expect(announced, 1, "The number of Ready", look)


@requires("serve", "cancel")
def test_a_service_that_is_called_says_where_it_serves(
    served: Isolated, capsys: pytest.CaptureFixture[str], law_timeout: float
) -> None:
    """A caller that waits for a served function reads its URL on the standard error."""

    @served()
    def greet_caller() -> str:
        return "hello"

    launcher = greet_caller.make_launcher()
    waiter = launcher.make_waiter()
    execution = launcher.launch(launcher.call(((), {})), waiter)
    caller = threading.Thread(target=waiter.wait, args=(execution,), name="law caller")
    caller.start()
    told = ""

    def is_told() -> bool:
        nonlocal told
        told += capsys.readouterr().err
        return "run: " in told or waiter.ended

    try:
        wait_until(is_told, law_timeout)
        _, said, rest = told.partition("run: ")
        assert said, (
            "Whoever waits for a service reads its URL on the standard error, as in `run: "
            f"http://...`; expected it within {law_timeout:g} s, found {told!r}. {LOOK}"
        )
        answer = ask(rest.split()[0], law_timeout)
        expect(answer.body, "hello", "The response at the URL that was printed", LOOK)
    finally:
        execution.cancel(2.0)
        caller.join(law_timeout)
    assert waiter.ended, (
        f"A service was cancelled, and has not ended after {law_timeout:g} s. Send Exited."
    )


@requires("serve", "concurrency 2")
def test_services_at_once_have_urls_of_their_own(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Two services of one function run side by side, each at a url of its own."""

    def make(name: str) -> Any:
        @served()
        def tell() -> str:
            return name

        return tell

    names = ("first", "second")
    urls = [follow(make(name)).wait_for_url(law_timeout) for name in names]
    look = f"Choose a port for each service. The URLs were {urls}."
    expect(len({*urls}), 2, "The number of URLs of two services", look)
    found = [ask(url, law_timeout).body for url in urls]
    expect(found, [*names], "The responses of two services at once", look)


@requires("serve")
def test_lines_of_a_request_name_it(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A line printed for a request carries the ids of the request and the call, and arrives
    while the request runs. A gateway may have an id of its own, which is in its response.
    """

    @served()
    def speak() -> None:
        print("asked")

    recorder = follow(speak)
    url = recorder.wait_for_url(law_timeout)
    names = []
    for name in ("first", "second"):
        answer = ask(url, law_timeout, {"x-fal-request-id": name})
        names.append(answer.headers.get("x-fal-request-id", name))

    def printed() -> list[Log]:
        return [log for log in recorder.printed if log.message == "asked"]

    look = "Pass on each Log of a service as it came, at once, with call_id and request_id."
    wait_until(lambda: len(printed()) == 2, law_timeout)
    expect(len(printed()), 2, "The number of lines that two requests printed", look)
    assert recorder.call is not None
    calls = {log.call_id for log in printed()}
    expect(calls, {recorder.call.id}, "The ids of calls in the lines of requests", look)
    requests = [log.request_id for log in printed()]
    expect(requests, names, "The ids of requests in their lines", look)


@requires("serve", "cancel")
def test_a_cancelled_service_ends_and_is_reached_no_more(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A service that is cancelled ends with ``Cancelled``, and its port is free by then."""

    @served()
    def greet_no_more() -> str:
        return "hello"

    recorder = follow(greet_no_more)
    url = recorder.wait_for_url(law_timeout)
    recorder.cancel(2.0)
    look = "Send Exited once the process of the service has ended."
    expect_cancelled(recorder, law_timeout, "a cancelled service", look)
    expect(is_served(url), False, "Whether a service answers after Exited", look)


@requires("serve")
def test_a_drained_service_finishes_what_it_does(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A request that runs while its service is drained is answered; then the service ends
    without an error and is no longer reachable.
    """

    @served()
    def work() -> str:
        import time

        print("begun")
        time.sleep(1.0)  # The service is drained meanwhile.
        return "done"

    recorder = follow(work)
    url = recorder.wait_for_url(law_timeout)
    answer = _ask_beside(url, law_timeout)
    recorder.wait_for_line("begun", law_timeout)
    assert recorder.execution is not None
    recorder.execution.drain()
    look = "Pass drain on to the worker, and leave it to the service when it ends."
    found = result_of(answer, law_timeout, "a request to a service that is drained")
    expect(found, Response(200, "done"), "The response to a request that ran", look)
    expect(recorder.result(law_timeout), None, "The result of a drained service", look)
    expect(is_served(url), False, "Whether a drained service answers after its end", look)


@requires("serve", "option max_multiplexing")
def test_requests_run_at_once_as_far_as_they_may(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """As many requests run at once as ``max_multiplexing`` says, and no more."""

    @served(max_multiplexing=2)
    def meet() -> int:
        import sys
        import threading
        import time

        # Setting a default is atomic: all get one list.
        here = sys.modules.setdefault("meeting", type(sys)("meeting")).__dict__
        inside = here.setdefault("inside", [])
        lock = here.setdefault("lock", threading.Lock())
        most = 0
        with lock:
            inside.append(None)
        for _ in range(20):
            most = max(most, len(inside))
            time.sleep(0.01)  # Requests that may run at once are here together.
        with lock:
            inside.pop()
        return most

    url = follow(meet).wait_for_url(law_timeout)
    answers = [_ask_beside(url, law_timeout) for _ in range(6)]
    found = max(result_of(answer, law_timeout, "a request").body for answer in answers)
    look = "Pass the options of the call on with it: the server in the worker reads them."
    expect(found, 2, "The most requests at once with max_multiplexing=2", look)


@requires("serve", "option request_timeout")
def test_a_request_that_takes_too_long_is_answered(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A request that takes longer than ``request_timeout`` is answered with 504, and the
    service goes on.
    """

    waited = f"waited-{os.urandom(8).hex()}"

    @served(request_timeout=0.5)
    async def wait() -> None:
        import asyncio
        import sys

        # Only the first one waits, also where services share a process.
        if waited not in sys.modules:
            sys.modules[waited] = sys
            await asyncio.sleep(600)

    url = follow(wait).wait_for_url(law_timeout)
    look = "Pass the options of the call on with it: the server in the worker reads them."
    status = ask(url, law_timeout).status
    expect(status, 504, "The status of a request that took too long", look)
    # On a machine that stands still, another request may take too long as well.
    assert wait_until(lambda: ask(url, law_timeout).status == 200, law_timeout), (
        f"After a request that took too long, no other was answered with 200. {look}"
    )


@requires("serve", "cancel", "option health_check_config")
def test_a_service_is_ready_once_it_says_that_it_is_well(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    With ``health_check_config`` the URL of a served function is reported after the first
    response of 2xx.
    """
    asked: list[None] = []

    @served(health_check_config={"path": "/", "method": "POST"})
    def get_well() -> int:
        asked.append(None)
        if len(asked) < 3:
            raise LookupError("not yet")
        return len(asked)

    # Only the third response and later ones are 2xx; those before are 500.
    count = ask(follow(get_well).wait_for_url(law_timeout), law_timeout).body
    assert count > 3, (
        f"A service was reported as ready before its third response, the first of 2xx; this "
        f"was response {count}. Send Ready once the health check has passed."
    )


@requires("serve", "cancel", "option health_check_config")
def test_a_service_that_is_no_longer_well_is_ended(
    served: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A served function that fails as many regular health checks in a row as
    ``failure_threshold`` says ends like a lost worker. A host that scales may replace it
    instead.
    """
    asked: list[str] = []
    check = {"path": "/", "method": "POST", "call_regularly": True, "failure_threshold": 1}

    @served(health_check_config=check)
    def get_unwell() -> None:
        import os

        asked.append(os.urandom(8).hex())
        print("of", asked[0])
        if len(asked) > 1:
            raise LookupError("no longer")

    recorder = follow(get_unwell)
    recorder.wait_for_url(law_timeout)

    def is_replaced() -> bool:
        # What serves may print lines of its own.
        lines = {log.message for log in recorder.printed}
        return sum(line.startswith("of ") for line in lines) > 1

    assert wait_until(lambda: recorder.ended or is_replaced(), law_timeout), (
        "A service failed its regular health check, and was neither ended nor replaced after "
        f"{law_timeout:g} s. Repeat the check while the service runs, as call_regularly says."
    )
    if recorder.ended:
        assert isinstance(recorder.wait(law_timeout).reason, WorkerLost), (
            "The end of a service that is no longer well: expected Exited with WorkerLost. "
            f"These events came: {recorder.told}."
        )


def _ask_beside(url: str, timeout: float) -> Future[Response]:
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(ask, url, timeout)
    pool.shutdown(wait=False)
    return answer
