"""
Codecs: how realtime messages are bytes; msgpack unless the route says otherwise, which
it does by codecs of its own or by the content type of JSON.

What msgpack has no form for travels as what a JSON answer would have: a model or a
dataclass as a map, a set as a list, a time as its ISO text. Bytes stay bytes. A NumPy
array is a map that any client can read: ``__ndarray__`` (the type of its elements, as
in ``<f4``), ``shape``, and ``data`` (its elements in C order).
Half of a surrogate pair, which UTF-8 has no form for, has its escape as text.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import msgpack
from pydantic import BaseModel

from fal_core_worker.serving.routes import RouteSignature

#: The key by which the map of an array is known, and how it looks in a message.
_ARRAY = "__ndarray__"
_ARRAY_MARK = _ARRAY.encode()

#: Kinds of elements that an array may have: booleans, numbers, times and their spans.
_KINDS = "?biufcmM"

#: Dimensions that an array may have; what NumPy itself allows.
_DIMENSIONS = 32


class MessageError(ValueError):
    """
    Bytes that are no message. The text says what is wrong with them.
    """


def encode(message: Any) -> bytes:
    """
    Return *message* as msgpack.

    Raises:
        TypeError: It holds something that has no form there.

        ValueError: A number is too large.
    """
    packed: bytes
    try:
        packed = msgpack.packb(message, default=_plain)
    except UnicodeEncodeError:
        # A codec of the user's may have made half of a surrogate pair.
        packed = msgpack.packb(message, default=_plain, unicode_errors="backslashreplace")
    return packed


def decode(data: bytes) -> Any:
    """
    Return the message that *data* is.

    Raises:
        MessageError: It is none.
    """
    hook = _array if _ARRAY_MARK in data else None
    try:
        return msgpack.unpackb(data, object_hook=hook, strict_map_key=False)
    except MessageError:
        raise
    except Exception as error:
        # The parser has exceptions of many kinds for what is malformed.
        reason = str(error) or type(error).__name__
        raise MessageError(f"The message is not msgpack: {reason}") from error


def codec_of(
    signature: RouteSignature,
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """
    Return what makes bytes of the messages of a route, and messages of bytes.
    """
    plain = (encode_json, decode_json) if speaks_json(signature) else (encode, decode)
    return signature.encode_message or plain[0], signature.decode_message or plain[1]


def speaks_json(signature: RouteSignature) -> bool:
    """
    Tell whether the messages of a route are JSON where it has no codec of its own.
    """
    return (signature.content_type or "").partition(";")[0].strip() == "application/json"


def encode_json(message: Any) -> bytes:
    """
    Return *message* as JSON.

    Raises:
        TypeError: It holds something that has no form there.
    """
    from fal_serve import answers

    return answers.encode(_as_json(message))


def decode_json(data: bytes) -> Any:
    """
    Return the message that *data* is.

    Raises:
        MessageError: It is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"The message is not JSON: {error}") from error


def dump(output: Any) -> Any:
    """
    Return *output* as an encoder takes it: a model as a dictionary, all else unchanged.
    """
    return output.model_dump() if isinstance(output, BaseModel) else output


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return _array_map(value)
        if isinstance(value, numpy.generic):
            plain = value.item()
            return plain if not isinstance(plain, numpy.generic) else str(plain)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        return list(value)
    return _as_json(value)


def _as_json(value: Any) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise TypeError(
            f"A message cannot hold a value of type {type(value).__name__!r}. Give plain "
            "values, models, dataclasses or arrays, or the route an encode_message."
        ) from None


def _array_map(array: Any) -> dict[str, Any]:
    if array.dtype.kind not in _KINDS:
        raise TypeError(
            f"A message cannot hold an array of {array.dtype}; use booleans, numbers or times."
        )
    return {
        _ARRAY: array.dtype.str,
        "shape": list(array.shape),
        "data": array.tobytes(),
    }


def _array(fields: dict[Any, Any]) -> Any:
    if _ARRAY not in fields:
        return fields
    try:
        import numpy
    except ImportError:
        return fields
    name, shape, data = fields[_ARRAY], fields.get("shape"), fields.get("data")
    if not (isinstance(name, str) and isinstance(shape, list) and isinstance(data, bytes)):
        raise MessageError("An array must have '__ndarray__', 'shape' and 'data'.")
    if len(shape) > _DIMENSIONS or not all(type(each) is int and each >= 0 for each in shape):
        raise MessageError(f"An array cannot have the shape {shape!r:.100}.")
    try:
        dtype = numpy.dtype(name)
    except Exception:
        raise MessageError(f"An array cannot have elements of type {name!r:.100}.") from None
    if dtype.kind not in _KINDS or dtype.shape or not dtype.itemsize:
        raise MessageError(f"An array cannot have elements of type {name!r:.100}.")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise MessageError(
            f"An array of shape {shape!r} and type {name!r} does not have {len(data)} bytes."
        )
    return numpy.frombuffer(data, dtype=dtype).reshape(shape).copy()
