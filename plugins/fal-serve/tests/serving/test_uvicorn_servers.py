"""FalServer calls a function when it is asked to shut down."""

import asyncio
import signal

import pytest
import uvicorn

from fal_serve import FalServer


def test_fal_server_tells_that_it_is_asked_to_end():
    """The function of ``set_handle_exit`` is called once, before requests finish."""
    called: list[str] = []
    server = FalServer(uvicorn.Config(lambda scope: None))
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    server = FalServer(uvicorn.Config(lambda scope: None))
    server.set_handle_exit(lambda: called.append("exit"))
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)
    assert called == ["exit"]


@pytest.mark.parametrize("error", [LookupError("gone"), SystemExit("gone")])
def test_handle_exit_that_fails_keeps_no_service_from_ending(caplog, error: BaseException):
    """An error of the function is logged, and the server shuts down."""

    def fail() -> None:
        raise error

    server = FalServer(uvicorn.Config(lambda scope: None))
    server.set_handle_exit(fail)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert f"{type(error).__name__}: gone" in caplog.text


def test_handle_exit_that_fails_later_is_logged(caplog):
    """The same is true of a coroutine function, which runs on beside the last requests."""

    async def fail() -> None:
        raise SystemExit("gone")

    async def shut_down() -> FalServer:
        server = FalServer(uvicorn.Config(lambda scope: None))
        server.set_handle_exit(fail)
        server.handle_exit(signal.SIGTERM, None)
        while "SystemExit: gone" not in caplog.text:
            await asyncio.sleep(0)
        return server

    assert asyncio.run(shut_down()).should_exit
