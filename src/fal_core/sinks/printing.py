"""Printing the lines of functions to the standard output and error of their caller."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping
from typing import IO

from fal_core.events import Log

_ERASE = "\r\033[K"
_ESCAPE = re.compile(r"\033\[[0-9;?]*[A-Za-z]")

_lock = threading.Lock()
#: The terminal that shows a line which has not ended.
_drawn: IO[str] | None = None
#: What each thread has printed last that belongs to no one call.
_printed = threading.local()


def print_log(log: Log) -> None:
    """
    Print a line to the standard output of the caller, or to its standard error.

    A line that has not ended is only drawn on terminals, and overwritten by the next. One that
    a worker gives to several calls in turn, as it knows not which has printed it, is printed
    once.
    """
    if log.call_id is None:
        if getattr(_printed, "latest", None) is log:
            return
        _printed.latest = log
    plain = log.level == "STDOUT" or (log.source == "USER" and log.level in ("DEBUG", "INFO"))
    stream = sys.stdout if plain else sys.stderr
    if stream is None:
        return
    text = f"{node_prefix(log)}{log.message}"
    if log.partial:
        _draw(text, stream)
        return
    if _drawn is not None:
        erase()
    try:
        stream.write(f"{text}\n")
        stream.flush() if stream is sys.stderr else None
    except UnicodeEncodeError:
        text = text.encode("ascii", "backslashreplace").decode()
        stream.write(f"{text}\n")


def node_prefix(log: Log) -> str:
    """
    Return what is printed before a line to tell from which node it comes, as in ``[1]``.

    Empty for a line of a call that runs on one node alone.
    """
    return "" if log.rank is None else f"[{log.rank}] "


def print_urls(urls: Mapping[str, str]) -> None:
    """Print the URLs of a service to the standard error of the caller, the one to call first."""
    for name in sorted(urls, key=lambda name: name != "run"):
        print_log(Log(f"{name}: {urls[name]}", level="INFO", source="BRIDGE"))


def erase() -> None:
    """Erase the unfinished line that was drawn last, if there is one."""
    global _drawn
    with _lock:
        stream, _drawn = _drawn, None
        if stream is not None and not stream.closed:
            stream.write(_ERASE)
            stream.flush()


def _draw(text: str, stream: IO[str]) -> None:
    global _drawn
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return
    if _drawn is not stream:
        erase()
    text = _fitting(text, _width(stream))
    with _lock:
        _drawn = stream
        try:
            stream.write(_ERASE + text)
        except UnicodeEncodeError:
            stream.write(_ERASE + text.encode("ascii", "replace").decode())
        stream.flush()


def _fitting(text: str, width: int) -> str:
    """Cut *text* to one row: a longer line could not be overwritten."""
    bare = _ESCAPE.sub("", text)
    return text if len(bare) < width else bare[: width - 1]


def _width(stream: IO[str]) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
