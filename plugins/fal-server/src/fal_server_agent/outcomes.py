"""
Outcomes: what a function returned or raised, as its client reads it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import traceback
from types import FrameType, TracebackType
from typing import Any

from fal_server_agent.messages import pack

#: How a result travels where nothing was sent to tell.
DEFAULT_METHOD = "pickle"

#: The packages around a function of a user, and what their threads run in.
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
    """
    What a function returned or raised cannot be serialized.
    """


def load(method: str, data: bytes) -> Any:
    """
    Open what a client has serialized.
    """
    _support_tracebacks()
    return importlib.import_module(method).loads(data)


def resolve(entrypoint: str) -> Any:
    """
    Return what *entrypoint* names, as in ``package.module:attribute.path``.
    """
    module, colon, path = entrypoint.partition(":")
    if not module or not colon or not path:
        raise ValueError(f"{entrypoint!r} is no entry point, as 'module:attribute' is.")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def digest(method: str, data: bytes) -> str:
    """
    Return what a setup function is known by.
    """
    return hashlib.sha256(method.encode() + b"\0" + data).hexdigest()


def returned(method: str, value: Any) -> bytes:
    """
    Return the message of a function that has returned *value*.

    Raises:
        Unserializable: It cannot travel.
    """
    return pack({"raised": False, "method": method}, _dump(method, value))


def raised(method: str, error: BaseException) -> bytes:
    """
    Return the message of a function that has raised *error*.

    Raises:
        Unserializable: It cannot travel.
    """
    _support_tracebacks()
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
    Return *trace* from the first frame on that is not of what runs the function; all of it
    where there is none.
    """
    found = trace
    while found is not None and _is_around(found.tb_frame):
        found = found.tb_next
    return found or trace


def _is_around(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return module in _AROUND or frame.f_code.co_filename.startswith("<fal_core_")


def failed(sentence: str) -> bytes:
    """
    Return the message of a call that has no outcome of its own.
    """
    return pack({"failed": sentence})


def wants(function: Any, name: str) -> bool:
    """
    Tell whether *function* takes the keyword *name*.
    """
    try:
        # What is wrapped tells of the original, which the wrapper passes all on to.
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.name == name and each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
        for each in parameters
    )


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


def _support_tracebacks() -> None:
    """
    Have exceptions pickle with their tracebacks, those known by now.
    """
    try:
        from tblib.pickling_support import install  # type: ignore[import-untyped]  # no types
    except ImportError:
        return
    install()
