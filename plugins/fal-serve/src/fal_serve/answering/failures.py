"""
Failures: what the client is told when a request cannot be answered, and what the log.
"""

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
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.websockets import WebSocket, WebSocketState

from fal_serve.answering.json_responses import JSONAnswer
from fal_serve.answering.logs import log_error
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

_UNREAD = "a body is read as JSON with the header 'Content-Type: application/json' alone"

#: How deep what a request held is looked into before it is echoed.
_DEPTH = 64


def install(application: FastAPI) -> None:
    """
    Have *application* answer failures.
    """
    handlers: dict[Any, Any] = {
        404: _not_found,
        StarletteHTTPException: _http_exception,
        AppException: _app_exception,
        FieldException: _field_exception,
        RequestCancelledException: _cancelled,
        RequestValidationError: _invalid,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        application.add_exception_handler(kind, handler)
    application.router.default = answer_missing(application.router.default)


def answer_all(stack: Any) -> None:
    """
    Have the inner of the two places in *stack* where Starlette answers answer everything.

    The outer one raises what is not expected once more when it has answered.
    """
    while stack is not None:
        if isinstance(stack, ExceptionMiddleware):
            handler: Any = _unexpected
            stack.add_exception_handler(Exception, handler)
            return
        stack = getattr(stack, "app", None)


def answer_missing(otherwise: ASGIApp) -> ASGIApp:
    """
    Return what answers where there is no route, and websockets so too.

    Where the server cannot answer a websocket it closes it, as *otherwise* does.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_websocket = scope["type"] == "websocket"
        if is_websocket and "websocket.http.response" in (scope.get("extensions") or {}):
            said = "does not exist."
            if _exists(scope, "http"):
                said = "is no websocket: send it requests, by a url that begins with http."
            await _missing(scope["path"], said)(scope, receive, send)
        else:
            await otherwise(scope, receive, send)

    return answer


async def _not_found(request: Request, error: HTTPException) -> Response:
    if "endpoint" in request.scope:
        # The endpoint said so itself.
        return await _http_exception(request, error)
    said = "does not exist."
    if _exists(request.scope, "websocket"):
        said = "is a websocket: connect to it by a url that begins with ws:// or wss://."
    return _missing(request.url.path, said)


def _missing(path: str, said: str) -> Response:
    return JSONAnswer({"detail": f"Path {printable(path)} {said}"}, 404, headers=_NOTHING)


def _exists(scope: Scope, kind: str) -> bool:
    scope = {"method": "POST", **scope, "type": kind}
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


async def _http_exception(connection: HTTPConnection, error: HTTPException) -> Response:
    headers = error.headers
    if error.status_code == 400 and _is_of_body(error):
        headers = {**(headers or {}), **_NOTHING}
    if not is_body_allowed_for_status_code(error.status_code):
        return Response(status_code=error.status_code, headers=headers)
    return JSONAnswer({"detail": error.detail}, error.status_code, headers=headers)


def _is_of_body(error: BaseException) -> bool:
    """
    Tell whether FastAPI raised *error* itself, as it could not read the body.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals["__name__"] == "fastapi.routing"


async def _app_exception(connection: HTTPConnection, error: AppException) -> Response | None:
    if isinstance(connection, WebSocket):
        await _close(connection, error.message)
        return None
    return JSONAnswer({"detail": error.message}, error.status_code)


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
    return JSONAnswer(error.to_pydantic_format(), error.status_code, headers=headers)


async def _cancelled(
    connection: HTTPConnection, error: RequestCancelledException
) -> Response | None:
    if isinstance(connection, WebSocket):
        await _close(connection, str(error))
        return None
    return JSONAnswer({"detail": str(error)}, 499)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    detail = safe(error.errors())
    if isinstance(error.body, bytes):
        # It was not read as JSON, which the client does not see by what is wrong with it.
        for each in detail:
            if each["loc"][0] == "body":
                each["msg"] += f"; {_UNREAD}"
    return JSONAnswer({"detail": detail}, 422, headers=_NOTHING)


async def _unexpected(connection: HTTPConnection, error: Exception) -> Response | None:
    log_error(error, "The handler failed.")
    gpu = find_gpu_error(error)
    if isinstance(connection, WebSocket):
        await _close(connection, "Internal Server Error" if gpu is None else gpu.message)
        return None
    if gpu is not None:
        return JSONAnswer({"detail": gpu.message}, gpu.status_code)
    return JSONAnswer({"detail": "Internal Server Error"}, 500)


async def _close(connection: WebSocket, reason: str) -> None:
    if connection.application_state is not WebSocketState.DISCONNECTED:
        # A reason has room for 123 bytes.
        said = printable(reason).encode()[:123].decode("utf-8", "ignore")
        await connection.close(1011, said)


def detail_of(error: Exception) -> Any:
    """
    Return what a client may know of *error*.
    """
    if isinstance(error, FieldException):
        return error.to_pydantic_format()["detail"]
    if isinstance(error, AppException | RequestCancelledException):
        return error.message
    if isinstance(error, HTTPException):
        return error.detail
    gpu = find_gpu_error(error)
    return "Internal Server Error" if gpu is None else gpu.message


def printable(text: str) -> str:
    """
    Return *text* without what no encoding has, such as half of a surrogate pair.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def safe(value: Any, depth: int = _DEPTH) -> Any:
    """
    Return *value*, which a request held, as JSON can have it.
    """
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
        return {printable(str(key)): safe(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [safe(each, depth - 1) for each in value]
    if isinstance(value, BaseException):
        return printable(str(value))
    try:
        return safe(jsonable_encoder(value), depth - 1)
    except Exception:
        return printable(repr(value))
