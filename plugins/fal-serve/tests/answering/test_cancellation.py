"""Handlers whose client disconnects."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import Request
from pydantic import BaseModel

from fal_core import OptionError
from fal_serve import App, cancel_on_disconnect, endpoint, request_cancelled


class Work(BaseModel):
    name: str


class Working(App, kind="current"):
    def setup(self) -> None:
        self.told: list[str] = []
        self.gate = asyncio.Event()
        self.left = threading.Event()

    @endpoint("/told")
    def tell(self) -> list[str]:
        return self.told

    @endpoint("/left")
    def leave(self) -> None:
        self.left.set()

    @endpoint("/open")
    async def open_gate(self) -> None:
        self.gate.set()

    @endpoint("/decorated")
    @cancel_on_disconnect
    async def decorated(self, work: Work) -> str:
        return await self.wait(work.name)

    @endpoint("/block")
    async def block(self, request: Request, work: Work) -> str:
        async with cancel_on_disconnect(request):
            await self.wait(work.name)
        return "done"

    @endpoint("/patient")
    async def patient(self, work: Work) -> str:
        self.told.append(f"{work.name} began")
        await self.gate.wait()
        self.told.append(f"{work.name} finished")
        return "done"

    @endpoint("/failing")
    async def failing(self, work: Work) -> str:
        async with cancel_on_disconnect():
            raise KeyError(work.name)

    @endpoint("/asking")
    def asking(self, work: Work) -> str:
        self.told.append(f"{work.name} {request_cancelled()}")
        while not request_cancelled():
            pass
        self.told.append(f"{work.name} stopped")
        return "stopped"

    @endpoint("/answering")
    def answering(self, work: Work) -> bool:
        return request_cancelled()

    @endpoint("/wrong")
    async def wrong(self) -> bool:
        return request_cancelled()

    async def wait(self, name: str) -> str:
        self.told.append(f"{name} began")
        try:
            await asyncio.sleep(0 if name == "quick" else 3600)
        except asyncio.CancelledError:
            self.told.append(f"{name} cancelled")
            raise
        return "done"


@pytest.fixture(scope="module")
def served(serve):
    return serve(Working)


def wait_until_told(served: Any, text: str) -> None:
    """Wait until a handler has printed *text*."""
    while text not in served.post("/told").json():
        pass


def leave_early(served: Any, path: str, name: str, first: str) -> None:
    """Send a request to *path*, and disconnect once the handler has printed *first*."""

    async def run() -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            asked = asyncio.create_task(client.post(path, json={"name": name}))
            # Until the handler has begun.
            while f"{name} {first}" not in (await client.post("/told")).json():
                await asyncio.sleep(0.01)
            asked.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/decorated", "/block"])
def test_handler_is_cancelled_when_the_client_goes(served, path: str):
    """A decorated handler is cancelled, and its request ends with 499."""
    name = path.strip("/")
    leave_early(served, path, name, "began")
    wait_until_told(served, f"{name} cancelled")
    assert '"status":499' in served.find_line(f'"path":"{path}"').message


@pytest.mark.parametrize("path", ["/decorated", "/block"])
def test_handler_whose_client_stays_ends_as_others_do(served, path: str):
    """Without a disconnect, the output is sent, from a block and a decorated handler."""
    assert served.post(path, {"name": "quick"}).json() == "done"


def test_handler_goes_on_when_it_asked_for_nothing(served):
    """Any other handler runs to its end after a disconnect."""
    leave_early(served, "/patient", "patient", "began")
    served.post("/open")
    wait_until_told(served, "patient finished")


def test_error_in_the_block_is_the_handlers(served):
    """An exception leaves the block unchanged, and in no exception group."""
    assert served.post("/failing", {"name": "x"}).status_code == 500
    assert "KeyError: 'x'" in served.find_line("KeyError").message


def test_plain_handler_can_ask(served):
    """A handler on a thread can find out about the disconnect, and stop by itself."""
    assert served.post("/answering", {"name": "x"}).json() is False
    leave_early(served, "/asking", "asking", "False")
    wait_until_told(served, "asking stopped")


def test_coroutine_does_not_ask_as_a_thread_does(served):
    """request_cancelled would block the event loop, and raises instead."""
    assert served.post("/wrong").status_code == 500
    assert "Decorate this one with cancel_on_disconnect" in served.find_line("Decorate").message


def test_nobody_has_gone_outside_a_request():
    """Outside a request, nothing is cancelled."""
    assert request_cancelled() is False

    async def run() -> str:
        async with cancel_on_disconnect():
            return "done"

    assert asyncio.run(run()) == "done"


def test_plain_function_cannot_be_cancelled():
    """The decorator refuses a plain function, and says what to do."""
    with pytest.raises(OptionError, match=r"not 'async def'\. Have it ask request_cancelled"):

        @cancel_on_disconnect  # type: ignore[arg-type]  # wrong on purpose
        def plain() -> None: ...
