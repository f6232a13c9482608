"""Outcomes: what a function returned or raised, serialized for its client."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from fal_server_agent.functions import support_tracebacks
from fal_server_agent.messages import pack, unpack

#: Packages whose frames stand around a function of a user in a traceback.
_AROUND = frozenset(
    {
        "concurrent",
        "fal_core",
        "fal_core_worker",
        "fal_host_serverless",
        "fal_serve",
        "fal_server_agent",
    }
)


class Unserializable(Exception):
    """What a function returned or raised cannot be serialized."""


class ApplicationFailed(Exception):
    """
    An application has failed, as the control plane was told.

    The agent raises it, so that its host does not list the runner as one that returned.
    """


def serialized(make: Callable[[], bytes]) -> bytes:
    """Return the message that *make* makes, or that of an outcome that cannot be serialized."""
    try:
        return make()
    except Unserializable as error:
        return failed(str(error))


def returned(method: str, value: Any) -> bytes:
    """
    Return the message of a function that has returned *value*.

    Raises:
        Unserializable: It cannot be serialized.
    """
    return pack({"raised": False, "method": method}, _dump(method, value))


def raised(method: str, error: BaseException) -> bytes:
    """
    Return the message of a function that has raised *error*.

    Raises:
        Unserializable: It cannot be serialized.
    """
    support_tracebacks()
    frames = _of_user(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, frames))
    try:
        message = str(error)
    except Exception:
        message = ""
    header = {
        "raised": True,
        "method": method,
        "traceback": text,
        "type": type(error).__name__,
        "message": message,
    }
    return pack(header, _dump(method, error))


def _of_user(trace: TracebackType | None) -> TracebackType | None:
    """
    Return *trace* without the frames of the framework in front of it, or all of it where
    there are no others.
    """
    found = trace
    while found is not None and _is_around(found.tb_frame):
        found = found.tb_next
    return found or trace


def _is_around(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return module in _AROUND or frame.f_code.co_filename.startswith("<fal_core_")


def failed(sentence: str) -> bytes:
    """Return the message of a call that could not be run, or whose result cannot travel."""
    return pack({"failed": sentence})


def check(message: bytes) -> None:
    """
    Check that an outcome is that of a function that has returned.

    Raises:
        ApplicationFailed: It is another one.
    """
    header, _ = unpack(message)
    if "failed" in header:
        raise ApplicationFailed(header["failed"])
    if header["raised"]:
        raise ApplicationFailed(f"{header['type']}: {header['message']}".rstrip(": "))


def _dump(method: str, value: Any) -> bytes:
    try:
        data: bytes = importlib.import_module(method).dumps(value)
    except BaseException as error:
        print(
            "".join(traceback.format_exception(type(error), error, error.__traceback__)),
            file=sys.stderr,
        )
        raise Unserializable(
            f"Error while serializing the execution result (object of type {type(value)})."
        ) from error
    return data
