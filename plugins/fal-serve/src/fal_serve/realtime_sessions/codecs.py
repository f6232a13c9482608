"""
Codecs of realtime messages: msgpack, unless the route has its own or speaks JSON.

Values that msgpack cannot hold are sent in the form that a JSON response would have: a
model or dataclass as a map, a set as a list, a time as ISO text. Bytes stay bytes. A
NumPy array is a map that any client can read: ``__ndarray__`` (the type of its elements,
as in ``<f4``), ``shape``, and ``data`` (its elements in C order). Half of a surrogate
pair, which UTF-8 cannot encode, is sent as its escape.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import msgpack
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from fal_core_worker.serving.routes import RouteSignature

#: The key that marks the map of an array, and its bytes in a message.
_ARRAY = "__ndarray__"
_ARRAY_MARK = _ARRAY.encode()

#: Kinds of elements that an array may have: booleans, numbers, times and time spans.
_KINDS = "?biufcmM"

#: The most dimensions of an array, as in NumPy.
_DIMENSIONS = 32


class MessageError(ValueError):
    """A message cannot be decoded; the text says why."""


def encode(message: Any) -> bytes:
    """
    Return *message* as msgpack.

    Raises:
        TypeError: It holds a value that msgpack cannot hold.

        ValueError: A number is too large.
    """
    packed: bytes
    try:
        packed = msgpack.packb(message, default=_plain)
    except UnicodeEncodeError:
        # A text may contain half of a surrogate pair.
        packed = msgpack.packb(message, default=_plain, unicode_errors="backslashreplace")
    return packed


def decode(data: bytes) -> Any:
    """
    Return the message in *data*.

    Raises:
        MessageError: It is not msgpack.
    """
    hook = _array if _ARRAY_MARK in data else None
    try:
        return msgpack.unpackb(data, object_hook=hook, strict_map_key=False)
    except MessageError:
        raise
    except Exception as error:
        # The parser raises exceptions of many kinds for malformed data.
        reason = str(error) or type(error).__name__
        raise MessageError(f"The message is not msgpack: {reason}") from error


def codec_of(
    signature: RouteSignature,
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Return the encoder and decoder of a route's messages."""
    plain = (encode_json, decode_json) if speaks_json(signature) else (encode, decode)
    return signature.encode_message or plain[0], signature.decode_message or plain[1]


def speaks_json(signature: RouteSignature) -> bool:
    """Tell whether the messages of a route without its own codec are JSON."""
    return (signature.content_type or "").partition(";")[0].strip() == "application/json"


def encode_json(message: Any) -> bytes:
    """
    Return *message* as JSON.

    Raises:
        TypeError: It holds a value that JSON cannot hold.
    """
    from fal_serve.answering import json_responses as answers

    return answers.encode(_as_json(message))


def decode_json(data: bytes) -> Any:
    """
    Return the message in *data*.

    Raises:
        MessageError: It is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"The message is not JSON: {error}") from error


def dump(output: Any) -> Any:
    """Return *output* as encoders take it: a model as a dictionary, anything else unchanged."""
    return output.model_dump() if isinstance(output, BaseModel) else output


def type_adapter(modal: Any) -> TypeAdapter[Any]:
    """Return the adapter that validates messages of type *modal*, the same at both ends."""
    try:
        return TypeAdapter(modal)
    except (PydanticSchemaGenerationError, PydanticUserError):
        # A class that pydantic does not know, such as an array: check for its instances.
        return TypeAdapter(modal, config=ConfigDict(arbitrary_types_allowed=True))


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
