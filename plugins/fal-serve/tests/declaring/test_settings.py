"""Settings from environment variables."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import Request, WebSocket
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from fal_core import OptionError
from fal_serve import App, endpoint
from fal_serve.declaring.settings import ServiceSettings, WrongLimit, apply_limit_variables

PATIENCE = 60


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE) as client:
        yield client


class Large(App, kind="current"):
    """An application that accepts any size."""

    @endpoint("/size")
    async def size(self, request: Request) -> int:
        return len(await request.body())

    @endpoint("/socket", is_websocket=True)
    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(len(await websocket.receive_bytes())))
        await websocket.receive_bytes()


def test_sizes_are_limited_by_variables(serve, monkeypatch):
    """
    Limits set where a service is launched hold: a message of the limit is accepted, and one
    byte more closes the websocket with 1009.
    """
    monkeypatch.setenv("FAL_SERVE_MAX_BODY_SIZE", "1000")
    monkeypatch.setenv("FAL_SERVE_MAX_MESSAGE_SIZE", "2000")
    served = serve(Large)
    assert served.client.post("/size", content=b"x" * 1000).json() == 1000
    assert served.client.post("/size", content=b"x" * 1001).status_code == 413
    with connect(served.url.replace("http", "ws") + "/socket") as client:
        client.send(b"x" * 2000)
        assert client.recv() == "2000"
        client.send(b"x" * 2001)
        with pytest.raises(ConnectionClosedError, match=r"1009 .* limit of 2000 bytes"):
            client.recv()


def test_variable_of_a_limit_is_a_number_of_bytes(monkeypatch):
    """
    An invalid value fails where the service is launched and where it runs; a valid one has
    priority over the settings there.
    """
    monkeypatch.setenv("FAL_SERVE_MAX_BODY_SIZE", "1GB")
    with pytest.raises(OptionError, match="FAL_SERVE_MAX_BODY_SIZE is '1GB', and has to be"):
        Large.spawn()
    with pytest.raises(WrongLimit, match="FAL_SERVE_MAX_BODY_SIZE=104857600"):
        apply_limit_variables(ServiceSettings())
    monkeypatch.setenv("FAL_SERVE_MAX_BODY_SIZE", "7")
    assert apply_limit_variables(ServiceSettings(max_body_size=5)) == ServiceSettings(
        max_body_size=7
    )
