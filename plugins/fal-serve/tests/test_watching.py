"""
What blocks the event loop is named in the log.
"""

import os
import time
from typing import Any

import httpx

from fal_core_worker.routes import RouteSignature
from fal_serve.servables import BaseServable


def compute_badly(until: str) -> None:
    while not os.path.exists(until):
        time.sleep(0.01)


class Blocking(BaseServable):
    """
    Handlers that block, and do not.
    """

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
    """
    The log has its request, its function and its stack while it still blocks, once.
    """
    service = serve_with(nothing, Blocking, blocked_after=0.2)
    end = tmp_path / "end"
    with httpx.Client(timeout=30) as client:
        # What runs on a thread blocks nothing.
        client.post(service.url + "/work?seconds=1")
    import threading

    caller = threading.Thread(
        target=lambda: httpx.post(
            f"{service.url}/block?until={end}",
            headers={"x-fal-request-id": "slow"},
            timeout=30,
        )
    )
    caller.start()
    line = wait_for_line(service, request_id="slow")
    assert line["function"].endswith("block")
    assert f"blocked by {line['function']!r}" in line["message"]
    assert "in compute_badly" in line["stack"]
    assert "uvicorn" not in line["stack"]
    time.sleep(1)
    end.touch()
    caller.join(30)
    after = wait_for_line(service, request_id="slow")
    assert after["status"] == 200, "It is told once."


def test_service_that_rests_says_nothing(serve_with, wait_for_line):
    """
    A loop that is idle, or that is busy with short work, is not blocked.
    """
    service = serve_with(nothing, Blocking, blocked_after=0.5)
    with httpx.Client() as client:
        for _ in range(30):
            client.post(service.url + "/work?seconds=0.05")
    lines = []
    while not service.logs.empty():
        lines.append(service.logs.get().message)
    assert not [line for line in lines if "blocked" in line]
