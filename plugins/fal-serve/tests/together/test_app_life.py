"""The life of an application: from its setup to its teardown."""

from __future__ import annotations

import asyncio
import os
import threading

import httpx

from fal_serve import App, endpoint
from fal_serve.launching.spawns import AppSpawnInfo


class Living(App, kind="current"):
    async def setup(self) -> None:
        print(f"setup {os.environ['FAL_RUNNER_STATE']}")
        self.gate = asyncio.Event()

    async def handle_exit(self) -> None:
        # Awaits something; it takes no time.
        await asyncio.sleep(0)
        print("exit")
        self.gate.set()

    def teardown(self) -> None:
        print(f"teardown {os.environ['FAL_RUNNER_STATE']}")

    @endpoint("/")
    async def wait(self) -> str:
        print("waiting")
        await self.gate.wait()
        return os.environ["FAL_RUNNER_STATE"]


class Meeting(App, kind="current", max_multiplexing=50):
    def setup(self) -> None:
        self.barrier = threading.Barrier(50)

    @endpoint("/")
    def meet(self) -> int:
        return self.barrier.wait(60)


def lines_of(info: AppSpawnInfo) -> list[str]:
    """Return the lines that the application printed, without its access log."""
    lines = []
    while not info.logs.empty():
        lines.append(info.logs.get().message)
    return [line for line in lines if not line.startswith("{")]


def test_application_ends_in_order():
    """
    A drained application calls handle_exit, answers its requests, and tears down; its call
    ends without error.
    """
    info = Living.spawn()
    try:
        url = info.url
        assert url is not None

        async def run() -> httpx.Response:
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                asked = asyncio.create_task(client.post("/"))
                while (await asyncio.to_thread(info.logs.get, timeout=60)).message != "waiting":
                    pass
                info.drain()
                return await asked

        answer = asyncio.run(run())
        assert answer.json() == "RUNNING"
        assert info.future is not None
        assert info.future.result(60) is None
        assert lines_of(info) == ["exit", "teardown TERMINATING"]
    finally:
        info.cancel()


def test_setup_comes_first():
    """setup runs before the application can be reached."""
    info = Living.spawn()
    try:
        assert info.url is not None
        assert info.logs.get(timeout=60).message == "setup SETUP"
    finally:
        info.cancel()
        assert info.future is not None
        info.future.exception(60)


def test_plain_handlers_run_at_once(serve):
    """As many plain handlers run at once as max_multiplexing allows."""
    served = serve(Meeting)

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            asked = [client.post(served.url) for _ in range(50)]
            return [answer.json() for answer in await asyncio.gather(*asked)]

    assert sorted(asyncio.run(run())) == list(range(50))
