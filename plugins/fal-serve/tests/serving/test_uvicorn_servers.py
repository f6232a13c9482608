"""
FalServer calls a function when it is asked to shut down.
"""

import signal

import uvicorn

from fal_serve import FalServer


def test_fal_server_tells_that_it_is_asked_to_end():
    """
    The function of ``set_handle_exit`` is called once, before requests finish.
    """
    called: list[str] = []
    server = FalServer(uvicorn.Config(lambda scope: None))
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    server = FalServer(uvicorn.Config(lambda scope: None))
    server.set_handle_exit(lambda: called.append("exit"))
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)
    assert called == ["exit"]


def test_handle_exit_that_fails_keeps_no_service_from_ending(caplog):
    """
    An error of the function is logged, and the server shuts down.
    """

    def fail() -> None:
        raise LookupError("gone")

    server = FalServer(uvicorn.Config(lambda scope: None))
    server.set_handle_exit(fail)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert "LookupError: gone" in caplog.text
