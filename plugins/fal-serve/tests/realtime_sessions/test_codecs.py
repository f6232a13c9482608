"""Codecs: messages come back as they were, and no bytes break the decoder."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import math
import uuid
from typing import Any

import msgpack
import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from fal_serve.realtime_sessions.codecs import MessageError, decode, dump, encode

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
)
KEYS = st.text(st.characters(codec="utf-8")).filter("__ndarray__".__ne__)
MESSAGES = st.recursive(
    PLAIN, lambda each: st.lists(each) | st.dictionaries(KEYS, each), max_leaves=20
)
TYPES = ("?", "i1", "<i4", ">i4", "u8", "f2", "<f4", "f8", "c8", "<M8[s]", "m8[ms]")


class Point(BaseModel):
    x: int
    data: bytes = b""


@dataclasses.dataclass
class Pair:
    left: int
    right: Point


class Color(enum.Enum):
    RED = "red"


@given(MESSAGES)
def test_message_comes_back_as_it_was(message: Any) -> None:
    """Bytes stay bytes, text stays text, and numbers keep their value."""
    assert decode(encode(message)) == message


@given(MESSAGES)
def test_message_is_plain_msgpack(message: Any) -> None:
    """Any msgpack library can read and write the messages."""
    assert msgpack.unpackb(encode(message), raw=False, strict_map_key=False) == message
    assert decode(msgpack.packb(message, use_bin_type=True)) == message


@given(
    st.sampled_from(TYPES),
    st.lists(st.integers(0, 4), max_size=4),
    st.binary(min_size=8 * 4**4, max_size=8 * 4**4),
)
def test_array_comes_back_as_it_was(name: str, shape: list[int], data: bytes) -> None:
    """An array keeps its type, its shape and every bit, and is writable."""
    dtype = numpy.dtype(name)
    size = math.prod(shape) * dtype.itemsize
    array = numpy.frombuffer(data[:size], dtype).reshape(shape)
    found = decode(encode({"image": array}))["image"]
    assert (found.dtype, found.shape) == (dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


def test_array_need_not_lie_in_order() -> None:
    """A view is sent as its own elements."""
    array = numpy.arange(12, dtype="int16").reshape(3, 4).T[::2]
    assert (decode(encode(array)) == array).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(x=1, data=b"\xff"), {"x": 1, "data": b"\xff"}),
        (Pair(1, Point(x=2)), {"left": 1, "right": {"x": 2, "data": b""}}),
        ({3}, [3]),
        ((1, 2), [1, 2]),
        (Color.RED, "red"),
        (datetime.date(2024, 5, 17), "2024-05-17"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (numpy.float32(0.5), 0.5),
        (numpy.bool_(True), True),
    ],
)
def test_what_msgpack_has_no_form_for_is_made_plain(value: Any, expected: Any) -> None:
    """Models and dataclasses become maps, and other types what JSON would make of them."""
    assert decode(encode({"value": value}))["value"] == expected


def test_what_has_no_form_at_all_is_named() -> None:
    """The error names the type and says what to do."""
    with pytest.raises(TypeError, match=r"type 'object'.*encode_message"):
        encode({"value": object()})
    with pytest.raises(TypeError, match="array of object"):
        encode(numpy.array([None]))


def test_model_is_dumped_for_encoders() -> None:
    """A custom encoder gets a model as a dictionary, and anything else unchanged."""
    assert dump(Point(x=1)) == {"x": 1, "data": b""}
    assert dump([1]) == [1]


@given(st.binary(max_size=200))
@settings(max_examples=1000)
@example(b"")
@example(b"\xc1")
@example(b"\x91" * 100_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x81\x90\x01")
@example(b"\xc7\x0c\xff" + b"\xff" * 12)
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    """Arbitrary bytes are a message or a MessageError."""
    with contextlib.suppress(MessageError):
        decode(data)


@given(
    st.fixed_dictionaries(
        {
            "__ndarray__": st.sampled_from([*TYPES, "O", "V8", "S3", "", "(2,)f4", "x" * 9])
            | PLAIN
        },
        optional={
            "shape": st.lists(st.integers(-2, 2**62), max_size=40) | PLAIN,
            "data": st.binary(max_size=64) | PLAIN,
        },
    )
)
@settings(max_examples=500)
@example({"__ndarray__": "O", "shape": [1], "data": b"12345678"})
@example({"__ndarray__": "<f4", "shape": [2**40, 2**40], "data": b""})
@example({"__ndarray__": "<f4", "shape": [0] * 33, "data": b""})
@example({"__ndarray__": "<f4", "shape": [0, 2**62], "data": b""})
def test_array_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    """A map of objects, or with the wrong number of bytes, is not turned into an array."""
    with contextlib.suppress(MessageError):
        found = decode(msgpack.packb(fields))
        assert isinstance(found, numpy.ndarray)
        assert found.dtype.kind in "?biufcmM"
        assert found.tobytes() == fields["data"]
