"""Realtime endpoints, and how their messages are encoded."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

from fal_serve import realtime
from fal_serve.realtime_sessions.codecs import decode, encode

__all__ = ["msgpack_decode_message", "msgpack_encode_message", "realtime"]


def msgpack_encode_message(message: Any) -> bytes:
    """Return *message* as msgpack, as endpoints without an encoder of their own send it."""
    return encode(message)


def msgpack_decode_message(message: bytes) -> Any:
    """
    Return what *message*, which is msgpack, holds.

    Raises:
        ValueError: It is not msgpack.
    """
    return decode(message)


class _Decorator(types.ModuleType):
    """This module, which ``fal.realtime`` is once it was imported: there it is a decorator."""

    def __call__(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        return realtime(*args, **kwargs)


sys.modules[__name__].__class__ = _Decorator
