"""Logs: lines of JSON for requests, errors and warnings of the server itself."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import traceback
import weakref
from collections.abc import Callable
from json import JSONEncoder
from typing import Any

from fal_core_worker.serving import services
from fal_serve.answering.requests import current
from fal_serve.answering.stacks import package_of

_LEVELS = {
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "ERROR",
}

quoted: Callable[[Any], str] = JSONEncoder().encode

#: Packages whose frames stand between the server and a handler in a traceback.
_BETWEEN = ("anyio", "fal_serve", "fastapi", "starlette", "uvicorn")


class Aborted(Exception):
    """Ends a request whose connection is to be closed. Its cause has been logged."""


class HandlerExit(Exception):
    """A handler has raised the SystemExit or KeyboardInterrupt that is the cause."""


def log_error(error: BaseException, message: str) -> None:
    """Log *error* with its traceback, once for each request that raises it."""
    error = unwrap_error(error)
    if isinstance(error, Aborted) or _is_noted(error):
        return
    facts = {"message": message, "traceback": format_traceback(error)}
    request_id = services.request_id.get()
    if request_id:
        facts["request_id"] = request_id
    services.log("ERROR", facts)


def describe_unexpected() -> str:
    """
    Return what a client is told of an error that the handler did not mean for it: nothing
    but, while the service is developed, where its traceback stands.
    """
    said = "Internal Server Error"
    request_id = services.request_id.get()
    if not request_id or os.environ.get("FAL_SERVE_DEVELOPING", "0") in ("", "0"):
        return said
    return f"{said}. The traceback of request {request_id} is in the output of 'fal-core run'."


class _NoRequest:
    """The owner of errors that occur outside any request."""


_no_request = _NoRequest()


class _Requests(list["weakref.ref[Any]"]):
    """The requests that have logged an error. It is empty after pickling."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ()


def _is_noted(error: BaseException) -> bool:
    """Tell whether the current request has logged *error*, and mark it as logged."""
    request = current.get() or _no_request
    # Other requests may raise the same instance, such as one made by a module.
    seen = [ref for ref in getattr(error, "_fal_logged", ()) if ref() is not None]
    if any(ref() is request for ref in seen):
        return True
    # Some exceptions take no attributes.
    with contextlib.suppress(AttributeError):
        error._fal_logged = _Requests([*seen, weakref.ref(request)])  # type: ignore[attr-defined]
    return False


def unwrap_error(error: BaseException) -> BaseException:
    """
    Return the exception that a handler raised, if *error* was raised from it.

    Starlette wraps an exception that comes too late for a response.
    """
    while error.__cause__ and (isinstance(error, HandlerExit) or _is_starlettes(error)):
        error = error.__cause__
    return error


def _is_starlettes(error: BaseException) -> bool:
    if not isinstance(error, RuntimeError):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and package_of(frames[-1]) == "starlette"


def format_traceback(error: BaseException) -> str:
    """Return the traceback of *error* as text, from the user's first frame on."""
    trace = error.__traceback__
    while trace is not None and package_of(trace.tb_frame) in _BETWEEN:
        trace = trace.tb_next
    found = error.__traceback__ if trace is None else trace
    return "".join(traceback.TracebackException(type(error), error, found).format())


#: Begins each line of the access log, and only those.
_ACCESS = re.compile(
    r'\{"time":"[^"]*","request_id":"(?:[^"\\]|\\.)*","method":"[^"]*","path":"'
)


def is_access_line(line: str) -> bool:
    """Tell whether *line* of a service's log is of its access log."""
    return _ACCESS.match(line) is not None


class AccessLog:
    """
    Writes one line for each request.

    The line is formatted by hand, which takes a fraction of the time of a JSON encoder.
    """

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def write(
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        size: int,
        client: Any,
        endpoint: bytes | None,
        trace: str | None,
    ) -> None:
        """Write the line of one request."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        more = ""
        if endpoint is not None:
            more = f',"endpoint":{quoted(endpoint.decode("latin-1"))}'
        if trace is not None:
            more += f',"trace_id":"{trace}"'
        host = quoted(client[0]) if client else "null"
        services.write(
            "INFO",
            f'{{"time":"{self._text}.{int((now - second) * 1000):03d}Z",'
            f'"request_id":{quoted(request_id)},"method":{quoted(method)},'
            f'"path":{quoted(path)},"status":{status},"milliseconds":{seconds * 1000:.2f},'
            f'"bytes":{size},"client":{host}{more}}}',
        )


class ServerLog(logging.Handler):
    """Writes warnings of uvicorn and of this package as lines of the log, as a context manager."""

    _names = ("uvicorn.error", "fal_serve")

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage().strip()
        if error is not None:
            log_error(error, message)
            return
        level = _LEVELS.get(record.levelno, "WARNING")
        services.log(level, {"message": message, "logger": record.name})

    def __enter__(self) -> ServerLog:
        self.setLevel(logging.WARNING)
        self._before = [
            (logger, logger.propagate) for logger in map(logging.getLogger, self._names)
        ]
        for logger, _ in self._before:
            logger.addHandler(self)
            logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        for logger, propagate in self._before:
            logger.removeHandler(self)
            logger.propagate = propagate
