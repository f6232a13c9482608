"""Bytes of processes that are not trusted."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.events import Sealed
from fal_core.sealing import load_plain, open_plain
from fal_core_worker.opening.seals import PLAIN_PREFIX

VALUE = {"numbers": [1, 2.5], "text": "é", "bytes": b"\0", "pair": (None, True)}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.builds(tuple, st.lists(inner))
        | st.frozensets(st.integers() | st.text())
        | st.sets(st.binary())
    ),
    max_leaves=20,
)


def test_built_in_values_are_read() -> None:
    """Built-in values are unpickled, with the prefix of a sealed value and without."""
    data = pickle.dumps(VALUE, 5)
    assert load_plain(data) == VALUE
    assert open_plain(Sealed(PLAIN_PREFIX + data)) == VALUE


class Written:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self._path, "w")


def test_no_code_runs(tmp_path: Path) -> None:
    """A pickle that refers to a function is refused before the function runs."""
    path = tmp_path / "written"
    with pytest.raises(pickle.UnpicklingError, match=r"\.open is no plain value"):
        load_plain(pickle.dumps([Written(path)]))
    assert not path.exists()


@given(values, st.sampled_from([4, 5]))
def test_whatever_is_plain_is_read(value: object, protocol: int) -> None:
    """Built-in values come back as pickle gives them, whichever protocol they were written in."""
    data = pickle.dumps(value, protocol)
    assert load_plain(data) == pickle.loads(data)
    assert load_plain(pickle.dumps(bytearray(b"bytes"), 5)) == bytearray(b"bytes")


@given(st.data())
def test_whatever_comes_is_read_or_refused(data: st.DataObject) -> None:
    """Bytes of any kind, and pickles that were changed or cut, end with values or one error."""
    changed = bytearray(data.draw(st.binary() | st.builds(pickle.dumps, values)))
    if changed:
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    try:
        load_plain(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    except pickle.UnpicklingError as error:
        assert str(error)  # noqa: PT017  # that there is one is not asked


def repeated_key(value: object) -> bytes:
    """Return the pickle of a set that has the same key many times."""
    made = pickle.dumps(value, 5)[2:-1]
    return b"\x80\x05" + made + b"q\x07\x8f(" + b"h\x07" * 100 + b"\x90\x86."


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (repeated_key((None,) * 17), "a key has 17 values"),
        (repeated_key(1 << 1024), "a key has 1025 bits"),
        (repeated_key((1, -(1 << 1024))), "a key has 1025 bits"),
        (repeated_key(((),)), "tuple is part of a key"),
        (pickle.dumps({each * sys.hash_info.modulus: None for each in range(257)}), "256 keys"),
        (pickle.dumps({(each * 0.5, "a") for each in range(257)}), "256 keys"),
        (pickle.dumps(frozenset(range(257))), "256 keys"),
        # Written in parts of a thousand.
        (pickle.dumps({**dict.fromkeys(map(str, range(1000))), 1: 2}), "256 keys"),
    ],
)
def test_keys_that_take_long_are_refused(data: bytes, what: str) -> None:
    """No key is long to hash, and few are numbers, which can all be chosen to have one hash."""
    with pytest.raises(pickle.UnpicklingError, match=what):
        load_plain(data)


def test_many_texts_are_keys() -> None:
    """Texts and bytes have hashes that nobody can choose, and numbers are keys where they are few."""
    for value in ({str(each): each for each in range(2000)}, {*range(256)}, {1 << 1000: 1}):
        assert load_plain(pickle.dumps(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05Nr\xff\xff\xff\x7f.",  # a memo of two thousand million places
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # as many bytes as there are not
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x05" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists in lists
    ],
)
def test_nothing_is_taken_for_what_is_not_there(data: bytes) -> None:
    """A few bytes take a little memory, whatever they announce."""
    tracemalloc.start()
    try:
        try:
            load_plain(data)
        except pickle.UnpicklingError:
            pass
        assert tracemalloc.get_traced_memory()[1] < (1 << 20) + 200 * len(data)
    finally:
        tracemalloc.stop()
