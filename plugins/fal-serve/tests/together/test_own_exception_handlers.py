"""Exception handlers and middleware that a user adds to a service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import Depends, Request, WebSocket
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocketDisconnect

from fal_serve import App, AppException, FalFastAPI, endpoint


class Refused(Exception):
    pass


async def refuse() -> None:
    raise Refused("by a dependency")


class Failing(App, kind="current"):
    @endpoint("/value")
    def value(self) -> None:
        raise ValueError("a value")

    @endpoint("/refused")
    async def refused(self, _: None = Depends(refuse)) -> None: ...

    @endpoint("/typed")
    def typed(self, number: int) -> int:
        return "no number"  # type: ignore[return-value]  # wrong on purpose

    @endpoint("/own")
    def own(self) -> None:
        raise AppException("not like this", 418)

    @endpoint("/items")
    def items(self) -> Iterator[int]:
        yield 1
        raise SystemExit(5)

    @endpoint("/exits")
    def exits(self) -> None:
        raise SystemExit(5)


def name_it(status: int) -> Any:
    """Return a handler that answers with the name of the exception."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"handled": type(error).__name__}, status)

    return handle


class Handling(Failing):
    """Handlers of all kinds, registered as in any application of FastAPI."""

    def add_routes(self, application: FalFastAPI) -> None:
        super().add_routes(application)
        application.add_exception_handler(Refused, name_it(451))
        application.add_exception_handler(RequestValidationError, name_it(400))
        application.add_exception_handler(HTTPException, name_it(410))
        application.add_exception_handler(AppException, name_it(402))
        application.add_exception_handler(500, name_it(500))


def test_error_of_a_handler_reaches_who_tests_the_application():
    """A test of a service's application raises what its handlers raise, as FastAPI's does."""
    client = TestClient(Failing().build_application())
    with pytest.raises(ValueError, match="a value"):
        client.post("/value")
    with pytest.raises(Refused, match="by a dependency"):
        client.post("/refused")
    with pytest.raises(ResponseValidationError):
        client.post("/typed?number=1")
    assert client.post("/own").status_code == 418
    assert client.post("/typed").status_code == 422


def test_application_answers_before_its_error_is_raised():
    """The client of a service whose handler fails gets its answer, whoever is told of it."""
    client = TestClient(Failing().build_application(), raise_server_exceptions=False)
    answer = client.post("/value")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})


def test_handlers_of_the_user_take_the_place_of_those_of_the_service(serve):
    """Handlers for 500, invalid requests, unknown paths and fal's exceptions are used."""
    served = serve(Handling)
    answers = {
        path: served.post(path) for path in ("/value", "/refused", "/typed", "/gone", "/own")
    }
    assert {path: (each.status_code, each.json()) for path, each in answers.items()} == {
        "/value": (500, {"handled": "ValueError"}),
        "/refused": (451, {"handled": "Refused"}),
        "/typed": (400, {"handled": "RequestValidationError"}),
        "/gone": (410, {"handled": "HTTPException"}),
        "/own": (402, {"handled": "AppException"}),
    }
    line = served.find_line("ValueError: a value")
    assert json.loads(line.message)["message"] == "The handler failed."


@pytest.mark.parametrize("order", [(500, Exception), (Exception, 500)])
def test_the_last_handler_for_every_exception_is_used(order: tuple[Any, ...]):
    """Of handlers for 500 and for Exception, the one registered last answers."""
    application = Failing().build_application()
    for number, kind in enumerate(order):
        application.add_exception_handler(kind, name_it(590 + number))
    client = TestClient(application, raise_server_exceptions=False)
    assert client.post("/value").status_code == 591


class Sockets(App, kind="current"):
    @endpoint("/after", is_websocket=True)
    async def after(self, websocket: WebSocket) -> None:
        await websocket.accept()
        raise ValueError("after")

    @endpoint("/before", is_websocket=True)
    async def before(self, websocket: WebSocket) -> None:
        raise ValueError("before")

    @endpoint("/own", is_websocket=True)
    async def own(self, websocket: WebSocket) -> None:
        await websocket.accept()
        raise AppException("not like this", 418)


def test_websocket_whose_handler_raises_raises_in_a_test():
    """A test of a websocket sees what its handler raises; fal's exceptions close it."""
    client = TestClient(Sockets().build_application())
    for path in ("after", "before"):
        with pytest.raises(ValueError, match=path), client.websocket_connect(f"/{path}") as it:
            it.receive_text()
    with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/own") as it:
        it.receive_text()
    assert (caught.value.code, caught.value.reason) == (1011, "not like this")


async def leave(request: Request, error: Exception) -> JSONResponse:
    raise SystemExit(7)


def leave_on_a_thread(request: Request, error: Exception) -> JSONResponse:
    raise SystemExit(7)


class Leaving(Failing):
    """Exception handlers that end with SystemExit."""

    def add_routes(self, application: FalFastAPI) -> None:
        super().add_routes(application)
        application.add_exception_handler(ValueError, leave)
        application.add_exception_handler(Refused, leave_on_a_thread)
        application.add_exception_handler(500, leave)


class LeavingInTasks(Leaving):
    """The same below a middleware of Starlette's, which runs them in a task of their own."""

    def add_routes(self, application: FalFastAPI) -> None:
        super().add_routes(application)

        @application.middleware("http")
        async def pass_on(request: Request, call_next: Callable[[Request], Any]) -> Any:
            return await call_next(request)


@pytest.mark.parametrize("served_class", [Leaving, LeavingInTasks])
def test_exit_of_an_exception_handler_does_not_end_the_service(serve, served_class: type[App]):
    """SystemExit in an exception handler, a dependency or a stream is that request's failure."""
    served = serve(served_class)
    for path in ("/value", "/refused", "/typed?number=1", "/exits"):
        assert served.post(path).status_code == 500, path
        served.find_line("SystemExit")
        served.lines.clear()
    lines = []
    # Starlette's middleware ends a stream whose application fails; else it is broken off.
    with (
        contextlib.suppress(httpx.RemoteProtocolError),
        served.client.stream("POST", "/items") as answer,
    ):
        for line in answer.iter_lines():
            lines.append(line)  # those before the error too
    assert lines[:3] == ["data: 1", "", "event: error"]
    assert served.client.get("/health").status_code == 200
