"""The log names what blocks the event loop."""

import json
import os
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse

from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, endpoint
from fal_serve.servables import BaseServable


def compute_badly(until: str) -> None:
    # Until the test lets it go.
    while not os.path.exists(until):
        time.sleep(0.01)


class Blocking(BaseServable):
    """Handlers that block, and one that does not."""

    def __init__(self, func: Any) -> None:
        pass

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {RouteSignature("/block"): self.block, RouteSignature("/work"): self.work}

    async def block(self, until: str) -> None:
        compute_badly(until)

    def work(self, seconds: float) -> None:
        time.sleep(seconds)


def nothing() -> None: ...


def test_handler_that_blocks_is_named(serve_with, wait_for_line, tmp_path):
    """The log gets its request, function and stack, once and while it still blocks."""
    # A busy machine may stand still for less before the handler has begun.
    service = serve_with(nothing, Blocking, blocked_after=1.5)
    end = tmp_path / "end"
    with httpx.Client(timeout=60) as client:
        # What runs on a thread blocks nothing.
        client.post(service.url + "/work?seconds=2")
    import threading

    caller = threading.Thread(
        target=lambda: httpx.post(
            f"{service.url}/block?until={end}",
            headers={"x-fal-request-id": "slow"},
            timeout=60,
        )
    )
    caller.start()
    line = wait_for_line(service, request_id="slow")
    assert line["function"].endswith("block")
    assert f"blocked by {line['function']!r}" in line["message"]
    assert "in compute_badly" in line["stack"]
    assert "uvicorn" not in line["stack"]
    # It must not be logged again meanwhile.
    time.sleep(2)
    end.touch()
    caller.join(30)
    after = wait_for_line(service, request_id="slow")
    assert after["status"] == 200, "It is told once."


class Unkind(App, kind="current"):
    """Handlers that block the event loop in different ways."""

    @endpoint("/stream")
    async def stream(self, until: str) -> AsyncIterator[int]:
        yield 1
        compute_badly(until)
        yield 2

    @endpoint("/batch", max_batch_size=2, batch_wait=20)
    async def batch(self, *until: str) -> list[None]:
        compute_badly(until[0])
        return [None for _ in until]

    @endpoint("/parts")
    async def parts(self, until: str) -> StreamingResponse:
        async def items() -> AsyncIterator[bytes]:
            yield b"1"
            compute_badly(until)

        return StreamingResponse(items())


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("/stream", ["slow"]),
        ("/batch", ["one", "other"]),
        pytest.param(
            "/parts",
            ["slow"],
            marks=pytest.mark.skipif(
                sys.version_info < (3, 12), reason="A task does not tell its context."
            ),
        ),
    ],
)
def test_request_is_named_whose_handler_has_a_task_of_its_own(serve, tmp_path, path, ids):
    """The request is named for streams too, and all requests of a batch."""
    served = serve(Unkind)
    end = tmp_path / "end"
    given = {"json": str(end)} if path == "/batch" else {"params": {"until": str(end)}}

    def post(request_id: str) -> int:
        headers = {"x-fal-request-id": request_id}
        return served.post(path, headers=headers, **given).status_code

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(post, each) for each in ids]
        line = json.loads(served.find_line("in compute_badly").message)
        end.touch()
        assert [answer.result(30) for answer in answers] == [200] * len(ids)
    assert "has been blocked by" in line["message"]
    assert sorted(line["request_id"].split(",")) == ids


def test_service_that_rests_says_nothing(serve_with, wait_for_line):
    """An event loop that is idle or runs short tasks is not blocked."""
    service = serve_with(nothing, Blocking, blocked_after=0.5)

    def rest() -> list[str]:
        with httpx.Client(timeout=60) as client:
            for _ in range(30):
                client.post(service.url + "/work?seconds=0.05")
        lines = []
        while not service.logs.empty():
            lines.append(service.logs.get().message)
        return [line for line in lines if "blocked" in line]

    # A machine that stands still blocks it as well, though not each time.
    assert any(not rest() for _ in range(3))
