"""Sealed objects: pickles with a prefix that says what opens them."""

from __future__ import annotations

import enum
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core_worker.opening import seals
from fal_core_worker.opening.seals import (
    CODE_PREFIX,
    DIVIDED,
    LARGE_PIECE,
    PLAIN_PREFIX,
    Sealed,
    SealingError,
    assemble,
    seal_plain,
)
from fal_core_worker.opening.unpickling import open_sealed

#: Values of built-in types, of which many hold others.
plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner, inner)
    ),
)


def opened(plain: tuple[bytes, Sequence[Any]] | None) -> Any:
    """Return what is in a sealed object that is one pickle."""
    assert plain is not None
    data, buffers = plain
    assert data.startswith(PLAIN_PREFIX)
    assert not buffers
    return pickle.loads(data[len(PLAIN_PREFIX) :])


@given(plain)
def test_built_in_values_are_sealed_as_they_are(value: Any) -> None:
    """What is made of built-in values alone comes back equal, and of the same types."""
    assert repr(opened(seal_plain(value))) == repr(value)


class Number(int):
    pass


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize("value", [Number(3), Color.RED, len, int, ValueError(), object()])
def test_other_values_are_left_to_the_pickler(value: Any) -> None:
    """Anything else is no plain value, however deep it lies; the next value is sealed right."""
    assert seal_plain({"a": [1, (value,)]}) is None
    assert opened(seal_plain({"a": 1})) == {"a": 1}


def test_values_that_are_nested_too_deeply_are_left_to_the_pickler() -> None:
    """A value whose pickling would need a deeper stack is no plain value, and no error."""
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 100):
        deep = [deep]
    assert seal_plain(deep) is None
    assert opened(seal_plain([1])) == [1]


def test_a_pickler_that_is_used_again_remembers_nothing() -> None:
    """An object that was sealed before is sealed whole, and nothing large is kept for it."""
    seals._picklers.clear()
    value = ["x" * 100]
    assert seal_plain(value) == seal_plain(value)
    assert len(seals._picklers) == 1
    assert opened(seal_plain("y" * seals._KEPT_SIZE)) == "y" * seals._KEPT_SIZE
    assert seals._picklers == []


def test_threads_share_no_pickler() -> None:
    """Threads that seal at once get what they sealed."""
    values = [[number] * 50 for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert [opened(plain) for plain in pool.map(seal_plain, values)] == values


def test_the_prefix_says_what_opens_it() -> None:
    """A sealed object names the Python that sealed it, and says whether it holds code."""
    here = tuple(sys.version_info[:2])
    assert [Sealed(prefix).contains_code for prefix in (PLAIN_PREFIX, CODE_PREFIX)] == [
        False,
        True,
    ]
    assert Sealed(PLAIN_PREFIX).python == Sealed(CODE_PREFIX).python == here
    assert Sealed(bytes((1, 1, 3, 99))).python == (3, 99)


#: Values with large pieces, by what is large, and how many of those there are.
LARGE = {
    "bytes": (bytes(LARGE_PIECE), 1),
    "bytearray": (bytearray(LARGE_PIECE), 1),
    "text": ("\N{GREEK SMALL LETTER ALPHA}" * LARGE_PIECE, 1),
    "nested": ({"a": [b"x" * LARGE_PIECE, (bytearray(b"y" * LARGE_PIECE),)], "b": 1}, 2),
    "among many": ([b"x" * LARGE_PIECE, *range(100_000), "y" * 100_000, b"z" * LARGE_PIECE], 3),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_pieces_travel_beside_the_pickle(name: str) -> None:
    """What is large is none of the data, and the value comes back equal, of the same types."""
    value, count = LARGE[name]
    plain = seal_plain(value)
    assert plain is not None
    sealed = Sealed(*plain)
    assert sealed.is_divided
    assert not sealed.contains_code
    assert len(sealed.buffers) == count
    assert repr(open_sealed(sealed, "the value")) == repr(value)


def test_large_pieces_are_not_copied_when_they_are_sealed() -> None:
    """A buffer is a view of what was sealed. While there is one, a bytearray keeps its size."""
    value = bytearray(LARGE_PIECE)
    plain = seal_plain([value])
    assert plain is not None
    value[5] = 1
    assert plain[1][0][5] == 1
    with pytest.raises(BufferError):
        value.append(1)
    del plain
    value.append(1)


def test_objects_that_occur_twice_are_sealed_once() -> None:
    """A large object that a value holds twice is one object when it is opened."""
    piece = bytearray(LARGE_PIECE)
    plain = seal_plain([piece, piece])
    assert plain is not None
    assert len(plain[1]) == 1
    first, second = open_sealed(plain, "the value")
    assert first is second


def test_a_whole_pickle_has_no_buffers() -> None:
    """Where nothing may travel beside the pickle, it holds all that is large."""
    for value, _ in LARGE.values():
        assert repr(opened(seal_plain(value, beside=False))) == repr(value)


def test_as_many_buffers_as_a_frame_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces for which there is no room among the buffers stay in the pickle."""
    monkeypatch.setattr(seals, "MOST_BUFFERS", 3)
    pieces = [pickle.PROTO + b"\x05", b"]("]
    numbers = range(5)
    for number in numbers:
        head = pickle.BINBYTES + LARGE_PIECE.to_bytes(4, "little")
        pieces += [head, bytes([number]) * LARGE_PIECE]
    data, buffers = assemble([*pieces, b"e."], [b"own"])
    assert data[1] == DIVIDED
    assert buffers[2:] == (b"own",)
    value = open_sealed((data, buffers), "the value")
    assert value == [bytes([number]) * LARGE_PIECE for number in numbers]


def test_a_piece_that_is_missing_is_an_error() -> None:
    """A sealed object that lacks a buffer is refused like any other that is broken."""
    plain = seal_plain(bytes(LARGE_PIECE))
    assert plain is not None
    with pytest.raises(SealingError, match="cannot open the value"):
        open_sealed((plain[0], ()), "the value")
    with pytest.raises(SealingError, match="truncated"):
        open_sealed((plain[0], (b"",)), "the value")
