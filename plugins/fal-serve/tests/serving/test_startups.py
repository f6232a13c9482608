"""Setups that take longer than their startup_timeout."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.servables import BaseServable
from fal_serve.serving.startups import SetupTimeout

PATIENCE = 30

#: Seconds of work that nobody waits for: it is cancelled or interrupted.
FOR_EVER = 3600


class Living(BaseServable):
    """A servable whose setup is *func*."""

    def __init__(self, func: Any) -> None:
        self._setup = func

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {RouteSignature("/sleep"): self.sleep}

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        pending = self._setup()
        if pending is not None:
            await pending
        yield

    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"


def set_up() -> None:
    print("setup")


def hang_in_sleep() -> None:
    time.sleep(FOR_EVER)


def hang_in_loop() -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


async def hang_in_await() -> None:
    await asyncio.sleep(FOR_EVER)


async def hang_on_thread() -> None:
    await asyncio.to_thread(hang_in_sleep)


class OpensSlowly:
    """A value that the worker takes long to unpickle, as on a busy machine."""

    def __reduce__(self) -> Any:
        return time.sleep, (2.0,)


slow = OpensSlowly()


async def hang_after_a_slow_start() -> None:
    _ = slow
    await asyncio.sleep(FOR_EVER)


def hang_for_a_port() -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", 1), 1)
        except Exception:
            # Tries again and again, as a setup does that waits for another service.
            time.sleep(0.1)


@pytest.mark.parametrize(
    "hang",
    [
        *(hang_in_sleep, hang_in_loop, hang_in_await, hang_on_thread, hang_for_a_port),
        hang_after_a_slow_start,
    ],
)
def test_setup_that_never_ends_is_named(serve_with, hang):
    """After startup_timeout the call ends with an error that says where the setup hangs."""
    service = serve_with(hang, Living, startup_timeout=1.5)
    with pytest.raises(SetupTimeout, match=r"startup_timeout of 1.5 s") as caught:
        _ = service.url
    assert f"in {hang.__name__}" in str(caught.value)
    if hang is hang_on_thread:
        assert "in hang_in_sleep" in str(caught.value)


def test_setup_in_time_is_not_interrupted(serve_with):
    """A timeout that was not exceeded does not affect the service later."""
    service = serve_with(set_up, Living, startup_timeout=5)
    assert httpx.post(service.url + "/sleep?seconds=5.5", timeout=PATIENCE).json() == "slept"
