"""The event loop of a service, and its signal handlers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fal_serve.serving.loops import drain_on_signals, new_loop

NUMBERS = (signal.SIGINT, signal.SIGTERM)


def handle(number: int, frame: Any) -> None:
    raise AssertionError(f"Signal {number} is for the service.")


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Handlers of the process that serves."""
    before = {number: signal.signal(number, handle) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_signals_drain_for_as_long_as_a_service_runs(number: signal.Signals):
    """Each signal calls the function in the loop; afterwards the handlers are as before."""

    async def serve() -> None:
        called = asyncio.Event()
        with drain_on_signals(called.set):
            for _ in range(2):
                os.kill(os.getpid(), number)
                await asyncio.wait_for(called.wait(), 60)
                called.clear()

    loop = new_loop()
    try:
        loop.run_until_complete(serve())
    finally:
        loop.close()
    assert signal.getsignal(number) is handle


def test_handlers_are_restored_after_an_error():
    """A service that fails leaves no handlers behind."""

    async def fail() -> None:
        with drain_on_signals(lambda: None):
            raise LookupError("in the service")

    with pytest.raises(LookupError):
        asyncio.run(fail())
    assert signal.getsignal(signal.SIGTERM) is handle


def test_thread_that_cannot_handle_signals_serves_without():
    """Beside the main thread, signals stay those of the process."""
    seen = []

    async def serve() -> None:
        with drain_on_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    thread.join()
    assert seen == [handle]
