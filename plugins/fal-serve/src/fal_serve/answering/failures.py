"""Failures: the responses to requests whose handler failed or was never reached."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.websockets import WebSocket, WebSocketState

from fal_serve.answering.json_responses import LenientJSONResponse
from fal_serve.answering.logs import HandlerExit, describe_unexpected, log_error
from fal_serve.exceptions import (
    AppException,
    FieldException,
    RequestCancelledException,
    find_gpu_error,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

BILLABLE_UNITS = "x-fal-billable-units"
_NOTHING = {BILLABLE_UNITS: "0"}

_UNREAD = "a body is only read as JSON with the header 'Content-Type: application/json'"

#: How deep a value of a request is traversed before it is echoed.
_DEPTH = 64


def install_handlers(application: FastAPI) -> None:
    """
    Add the responses of a service to requests that are invalid or have no route.

    Handlers that the user registers afterwards take their place.
    """
    # Any, as Starlette's type of a handler takes each Exception, not those it is for.
    handlers: dict[Any, Any] = {
        StarletteHTTPException: _http_exception,
        RequestValidationError: _invalid,
    }
    for kind, handler in handlers.items():
        application.add_exception_handler(kind, handler)
    # The argument *default* of Starlette's router, which FastAPI does not pass on.
    application.router.default = not_found_application(application.router.default)


class ExitGuard:
    """
    An ASGI application around another that raises no BaseException of a handler's.

    Starlette runs what is below some middleware in a task of its own, in which SystemExit
    would end the event loop.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except (KeyboardInterrupt, SystemExit) as error:
            raise HandlerExit(f"A handler ended with {error!r}.") from error


def not_found_application(otherwise: ASGIApp) -> ASGIApp:
    """
    Return the ASGI application for paths without a route, websockets included.

    If the server cannot send an HTTP response to a websocket, *otherwise* closes it.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_websocket = scope["type"] == "websocket"
        if is_websocket and "websocket.http.response" in (scope.get("extensions") or {}):
            problem = "does not exist."
            if _exists(scope, "http"):
                problem = "is not a websocket: send requests to it, at a URL with http."
            await _missing(scope["path"], problem)(scope, receive, send)
        else:
            await otherwise(scope, receive, send)

    return answer


def _missing(path: str, problem: str) -> Response:
    return LenientJSONResponse(
        {"detail": f"Path {printable(path)} {problem}"}, 404, headers=_NOTHING
    )


def _exists(scope: Scope, kind: str) -> bool:
    scope = {"method": "POST", **scope, "type": kind}
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


async def _http_exception(
    connection: HTTPConnection, error: StarletteHTTPException
) -> Response:
    if error.status_code == 404 and "endpoint" not in connection.scope:
        # No route raised it: there is none.
        problem = "does not exist."
        if _exists(connection.scope, "websocket"):
            problem = "is a websocket: connect to it at a URL with ws:// or wss://."
        return _missing(connection.url.path, problem)
    headers = error.headers
    if error.status_code == 400 and _is_of_body(error):
        headers = {**(headers or {}), **_NOTHING}
    if not is_body_allowed_for_status_code(error.status_code):
        return Response(status_code=error.status_code, headers=headers)
    return LenientJSONResponse({"detail": error.detail}, error.status_code, headers=headers)


def _is_of_body(error: BaseException) -> bool:
    """Tell whether FastAPI raised *error* because it could not read the body."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals["__name__"] == "fastapi.routing"


async def _app_exception(connection: HTTPConnection, error: AppException) -> Response | None:
    if isinstance(connection, WebSocket):
        await _close(connection, error.message)
        return None
    return LenientJSONResponse({"detail": error.message}, error.status_code)


async def _field_exception(
    connection: HTTPConnection, error: FieldException
) -> Response | None:
    if isinstance(connection, WebSocket):
        await _close(connection, str(error))
        return None
    units, headers = error.billable_units, {}
    if units is not None:
        number = float(units)
        whole = isinstance(units, int) or number.is_integer()
        headers[BILLABLE_UNITS] = format(number, ".0f" if whole else ".8f")
    return LenientJSONResponse(error.to_pydantic_format(), error.status_code, headers=headers)


async def _cancelled(
    connection: HTTPConnection, error: RequestCancelledException
) -> Response | None:
    if isinstance(connection, WebSocket):
        await _close(connection, str(error))
        return None
    return LenientJSONResponse({"detail": str(error)}, 499)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    detail = echoable(error.errors())
    if isinstance(error.body, bytes):
        # It was not read as JSON, which the validation errors alone do not tell.
        for each in detail:
            if each["loc"][0] == "body":
                each["msg"] += f"; {_UNREAD}"
    return LenientJSONResponse({"detail": detail}, 422, headers=_NOTHING)


async def answer_unexpected(request: Request, error: Exception) -> Response:
    """Return the response to a request whose handler has raised *error*, and log that."""
    log_error(error, "The handler failed.")
    gpu = find_gpu_error(error)
    if gpu is not None:
        return LenientJSONResponse({"detail": gpu.message}, gpu.status_code)
    return LenientJSONResponse({"detail": describe_unexpected()}, 500)


#: What an application answers to fal's exceptions, wherever it runs.
EXCEPTION_HANDLERS: dict[Any, Any] = {
    AppException: _app_exception,
    FieldException: _field_exception,
    RequestCancelledException: _cancelled,
}


async def _close(connection: WebSocket, reason: str) -> None:
    if connection.application_state is not WebSocketState.DISCONNECTED:
        # The reason of a close frame has at most 123 bytes.
        problem = printable(reason).encode()[:123].decode("utf-8", "ignore")
        await connection.close(1011, problem)


def detail_of(error: BaseException) -> Any:
    """Return the part of *error* that a client may see."""
    if isinstance(error, FieldException):
        return error.to_pydantic_format()["detail"]
    if isinstance(error, AppException | RequestCancelledException):
        return error.message
    if isinstance(error, HTTPException):
        return error.detail
    gpu = find_gpu_error(error)
    return "Internal Server Error" if gpu is None else gpu.message


def printable(text: str) -> str:
    """Return *text* with characters that cannot be encoded, such as lone surrogates, escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def echoable(value: Any, depth: int = _DEPTH) -> Any:
    """Return *value*, taken from a request, in a form that JSON can hold."""
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if not depth:
        return "…"
    if isinstance(value, Mapping):
        return {printable(str(key)): echoable(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [echoable(each, depth - 1) for each in value]
    if isinstance(value, BaseException):
        return printable(str(value))
    try:
        return echoable(jsonable_encoder(value), depth - 1)
    except Exception:
        return printable(repr(value))
