"""The limits of a request: its time, its turn, and its size."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse

from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, AppClient, AppClientError, FalFastAPI, endpoint
from fal_serve.servables import BaseServable
from fal_testing.harness.processes import wait_until

PATIENCE = 60
#: Seconds of a request that is to begin in time, also on a machine that stands still for one.
TIMEOUT = 2.5


class Limited(BaseServable):
    """Handlers that exceed a limit."""

    def __init__(self, func: Any) -> None:
        self._go_on = asyncio.Event()
        self._order: list[str] = []
        self._inside: list[None] = []
        self._most = 0

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/sleep"): self.sleep,
            RouteSignature("/block"): self.block,
            RouteSignature("/crowd"): self.crowd,
            RouteSignature("/stubborn"): self.stubborn,
            RouteSignature("/stream"): self.stream,
            RouteSignature("/hold"): self.hold,
            RouteSignature("/items/{name}"): self.item,
            RouteSignature("/size"): self.size,
        }

    def add_routes(self, application: FalFastAPI) -> None:
        # They do not wait for the handlers above.
        for handler in (self.most, self.healthy, self.release):
            application.add_api_route(f"/{handler.__name__}", handler, methods=["POST"])

    async def sleep(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            print("cancelled")
            raise
        return "slept"

    def block(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def crowd(self) -> None:
        self._inside.append(None)
        for _ in range(30):
            self._most = max(self._most, len(self._inside))
            # Stays for 1.5 s in all, so that others would be inside with it.
            time.sleep(0.05)
        self._inside.pop()

    async def most(self) -> list[int]:
        return [self._most, len(self._inside)]

    async def stubborn(self) -> str:
        try:
            # Ends by the request_timeout.
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("goes on")
            # Later than the request_timeout, though not for long.
            await asyncio.sleep(0.3)
        return "late"

    async def stream(self) -> StreamingResponse:
        async def items() -> AsyncIterator[bytes]:
            yield b"first"
            # Ends by the request_timeout or with its client.
            await asyncio.sleep(60)
            yield b"second"

        return StreamingResponse(items())

    async def hold(self, name: str) -> list[str]:
        print(f"holds {name}")
        await self._go_on.wait()
        self._order.append(name)
        return self._order

    async def item(self, name: str) -> str:
        return name

    async def size(self, request: Request) -> int:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return size

    async def healthy(self) -> str:
        return "healthy"

    async def release(self) -> None:
        self._go_on.set()


def nothing() -> None: ...


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE) as client:
        yield client


def hold(service: Any) -> threading.Thread:
    """Have a request occupy the only turn until it is released."""
    url = service.url + "/hold?name=a"
    thread = threading.Thread(target=lambda: httpx.post(url, timeout=PATIENCE))
    thread.start()
    wait_for_print(service, "holds a")
    return thread


def wait_for_print(info: Any, text: str) -> None:
    while info.logs.get(timeout=PATIENCE).message != text:
        pass


def answer_in_time(client: httpx.Client, url: str) -> httpx.Response:
    """Send requests until one is answered in time: on a busy machine the first may not be."""
    end = time.monotonic() + PATIENCE
    while (answer := client.post(url)).status_code == 504:
        assert time.monotonic() < end
    return answer


def test_request_that_takes_too_long_is_cancelled(serve_with, wait_for_line, client):
    """The handler is cancelled and the client gets 504; a request in time is not cancelled."""
    service = serve_with(nothing, Limited, request_timeout=TIMEOUT)
    late = client.post(service.url + "/sleep?seconds=60", headers={"x-fal-request-id": "l"})
    assert late.status_code == 504
    assert f"request_timeout of {TIMEOUT} s" in late.json()["detail"]
    assert late.headers["x-fal-request-id"] == "l"
    wait_for_print(service, "cancelled")
    assert wait_for_line(service, request_id="l")["status"] == 504
    assert answer_in_time(client, service.url + "/sleep?seconds=0").json() == "slept"


def test_handler_on_a_thread_is_not_waited_for(serve_with, client):
    """A thread cannot be interrupted, but its client gets the 504 in time."""
    service = serve_with(nothing, Limited, request_timeout=TIMEOUT)
    assert client.post(service.url + "/block?seconds=5").status_code == 504


def test_client_is_told_though_the_handler_goes_on(serve_with, client):
    """Anything that a handler sends after its deadline is dropped."""
    service = serve_with(nothing, Limited, request_timeout=TIMEOUT)
    assert client.post(service.url + "/stubborn").status_code == 504
    wait_for_print(service, "goes on")
    for _ in range(5):
        assert answer_in_time(client, service.url + "/sleep?seconds=0.1").json() == "slept"


def test_stream_that_takes_too_long_is_cut_off(serve_with, wait_for_line, client):
    """A client that has part of the response sees that the connection breaks."""
    service = serve_with(nothing, Limited, request_timeout=TIMEOUT)
    headers = {"x-fal-request-id": "s"}
    with client.stream("POST", service.url + "/stream", headers=headers) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    assert wait_for_line(service, request_id="s")["bytes"] == 5


class Slow(App, kind="current", request_timeout=TIMEOUT):
    """An application that streams for longer than its timeout."""

    @endpoint("/steps")
    def steps(self) -> Iterator[int]:
        try:
            for number in range(30):
                yield number
                # The steps take 6 s, longer than the timeout.
                time.sleep(0.2)
        finally:
            print("closed")


def test_stream_of_events_that_takes_too_long_says_so(serve):
    """The last event states the reason, and a generator on a thread is closed."""
    served = serve(Slow)
    items = []
    with (
        AppClient(Slow, served.url) as client,
        pytest.raises(AppClientError, match=f"request_timeout of {TIMEOUT} s"),
    ):
        items.extend(client.steps())
    assert items[0] == 0
    served.find_line("closed")
    assert served.find_line("was cut off").level == "WARNING"
    assert not [line for line in served.lines if line.level == "ERROR"]


def test_generator_on_a_thread_is_closed_when_its_client_has_gone(serve):
    """It is closed once its current step has ended."""
    served = serve(Slow)
    with served.client.stream("POST", "/steps") as answer:
        assert next(answer.iter_lines()) == "data: 0"
    served.find_line("closed")
    assert not [line for line in served.lines if line.level == "ERROR"]


def test_requests_beyond_the_limit_wait_their_turn(serve_with, client):
    """
    Requests are handled one after the other, in the order they came; health checks and
    unknown paths are answered meanwhile.
    """
    service = serve_with(nothing, Limited, max_multiplexing=1)
    answers: queue.Queue[Any] = queue.Queue()

    def post(name: str) -> None:
        answers.put(httpx.post(f"{service.url}/hold?name={name}", timeout=PATIENCE).json())

    threads = []
    for index, name in enumerate("abcd"):
        threads.append(threading.Thread(target=post, args=(name,)))
        threads[-1].start()
        if index == 0:
            wait_for_print(service, "holds a")
        wait_for_metric(service, "http_requests_waiting", index)
    assert client.post(service.url + "/healthy").json() == "healthy"
    assert client.post(service.url + "/nowhere").status_code == 404
    client.post(service.url + "/release")
    for thread in threads:
        thread.join(PATIENCE)
    assert max(answers.queue, key=len) == ["a", "b", "c", "d"]
    assert sorted(map(len, answers.queue)) == [1, 2, 3, 4]


def test_handler_on_a_thread_keeps_its_turn_until_it_ends(serve_with, client):
    """
    No more handlers run than the limit, including those that go on after a 504; later
    requests get the turns of those that have ended.
    """
    service = serve_with(nothing, Limited, max_multiplexing=2, request_timeout=0.3)

    def post(_: int) -> int:
        return httpx.post(service.url + "/crowd", timeout=PATIENCE).status_code

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(post, range(6))) == [504] * 6
    assert client.post(service.url + "/most").json()[0] == 2
    assert answer_in_time(client, service.url + "/sleep?seconds=0").json() == "slept"


def wait_for_metric(service: Any, name: str, value: float) -> None:
    url, line = service.urls["metrics"] + "/metrics", f"\n{name} {float(value)}\n"
    assert wait_until(lambda: line in httpx.get(url).text, PATIENCE), f"{name} is never {value}"


def test_request_whose_client_goes_away_leaves_the_queue(serve_with, wait_for_line, client):
    """A request whose client disconnects leaves the queue, with or without a body."""
    service = serve_with(nothing, Limited, max_multiplexing=1)
    holder = hold(service)
    for body in (b"", b"x" * 5000):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                service.url + "/items/gone",
                content=body,
                headers={"x-fal-request-id": "gone"},
                timeout=httpx.Timeout(PATIENCE, read=0.3),
            )
        assert wait_for_line(service, request_id="gone")["status"] == 499
    wait_for_metric(service, "http_requests_waiting", 0)
    client.post(service.url + "/release")
    holder.join(PATIENCE)
    assert client.post(service.url + "/items/next").json() == "next"


def test_body_that_came_while_waiting_is_whole(serve_with, client):
    """The handler receives the whole body of a request that had to wait."""
    service = serve_with(nothing, Limited, max_multiplexing=1)
    sizes: queue.Queue[Any] = queue.Queue()

    def post() -> None:
        body = (b"x" * 10_000 for _ in range(500))
        sizes.put(httpx.post(service.url + "/size", content=body, timeout=PATIENCE).json())

    threads = [hold(service)]
    threads += [threading.Thread(target=post) for _ in range(3)]
    for thread in threads[1:]:
        thread.start()
    wait_for_metric(service, "http_requests_waiting", 3)
    client.post(service.url + "/release")
    for thread in threads:
        thread.join(PATIENCE)
    assert [sizes.get(timeout=PATIENCE) for _ in range(3)] == [5_000_000] * 3


@pytest.mark.parametrize("chunked", [False, True])
def test_body_beyond_the_limit_is_refused(serve_with, client, chunked):
    """A body of exactly the limit is accepted, and one byte more is answered with 413."""

    def body(size: int) -> Any:
        if not chunked:
            return b"x" * size
        return (b"x" * min(65536, size - at) for at in range(0, size, 65536))

    limit = 1_000_000
    service = serve_with(nothing, Limited, max_body_size=limit)
    assert client.post(service.url + "/size", content=body(limit)).json() == limit
    refused = client.post(service.url + "/size", content=body(limit + 1))
    assert refused.status_code == 413
    assert str(limit) in refused.json()["detail"]
    assert refused.headers["x-fal-billable-units"] == "0"
    assert client.post(service.url + "/size", content=body(limit)).json() == limit
