"""Payloads: what comes back is what was packed, and nothing else is taken for it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.workers.payloads_in import unpack_hello, unpack_lines, unpack_texts
from fal_core_worker.stream import payloads
from fal_core_worker.stream.frames import LARGEST_LOG, LEVELS, PARTIAL, UnreadableFrame
from fal_core_worker.stream.payloads import pack_hello, pack_lines, pack_texts

# Text of every kind, with the halves of characters that programs may print.
text = st.text(st.characters())
numbers = st.integers(0, 2**32 - 1)
levels = st.builds(
    lambda level, partial: level + PARTIAL * partial,
    st.integers(0, len(LEVELS) - 1),
    st.booleans(),
)
lines = st.lists(st.tuples(levels, st.floats(0, 1e10), numbers, numbers | text, text))


@given(lines)
def test_lines_come_back(printed: list[payloads.Line]) -> None:
    """Lines keep their level, time, call, request and text, whatever they consist of."""
    read = [line for payload in pack_lines(printed) for line in unpack_lines(payload)]
    assert read == printed


def test_more_lines_than_a_frame_may_hold_are_several_payloads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    No payload is larger than a frame of output may be, and only a line beyond all measure
    is cut.
    """
    monkeypatch.setattr(payloads, "_LONGEST", 10)
    monkeypatch.setattr(payloads, "_ENOUGH", 100)
    packed = [*pack_lines([(0, 1.0, 1, "request", "12345678901234567890\n4")] * 5)]
    assert len(packed) == 5
    read = [line for payload in packed for line in unpack_lines(payload)]
    assert [line[4] for line in read] == ["1234567890", "1234567890", "\n4"] * 5
    assert {line[3] for line in read} == {"request"}


def test_the_longest_line_fits_in_a_frame() -> None:
    """The constants fit together: a line is cut before its frame would be refused."""
    assert payloads._ENOUGH + 4 * payloads._LONGEST + (1 << 20) < LARGEST_LOG


@given(st.dictionaries(text, text))
def test_texts_come_back(texts: dict[str, str]) -> None:
    """A mapping of texts comes back as it was."""
    assert unpack_texts(pack_texts(texts)) == texts


def test_the_description_of_a_worker_comes_back() -> None:
    """It has the names that hosts read."""
    version = sys.version_info[:3]
    assert unpack_hello(pack_hello(7, version, "/bin/pythön", 1.5)) == {
        "pid": 7,
        "python": version,
        "executable": "/bin/pythön",
        "at": 1.5,
    }


@pytest.mark.parametrize(
    "unpack", [unpack_hello, unpack_texts, lambda b: list(unpack_lines(b))]
)
@given(data=st.data())
def test_whatever_comes_is_read_or_refused(unpack, data: st.DataObject) -> None:
    """
    Bytes of any kind, and valid ones that were changed or cut, end with values or with the
    one error.
    """
    valid = st.sampled_from(
        (
            pack_hello(7, (3, 12, 1), "/bin/python", 1.5),
            pack_texts({"run": "http://here", "control": "http://there"}),
            *pack_lines([(0, 1.5, 1, 0, "one\ntwo"), (17, 2.5, 2, "request", "three")]),
        )
    )
    changed = bytearray(data.draw(st.binary() | valid))
    if changed:
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    try:
        unpack(cut)
    except UnreadableFrame:
        pass


@pytest.mark.parametrize(
    ("unpack", "payload", "what"),
    [
        (unpack_hello, b"", "cut short"),
        (unpack_hello, bytes(40), "impossible numbers"),
        (unpack_texts, b"\xff\xff\xff\xff", "longer than the frame"),
        (unpack_texts, b"\x01\0\0\0a", "no text"),
        (unpack_texts, b"\x01\0\0\0\xff" * 2, "not UTF-8"),
        (unpack_lines, b"\0", "cut short"),
        (unpack_lines, bytes(21) + b"\xff\xff\xff\xff", "longer than the frame"),
        (unpack_lines, b"\x09" + bytes(24), "impossible level"),
        (unpack_lines, b"\0" + b"\xff" * 8 + bytes(16), "impossible level or time"),
    ],
)
def test_a_refusal_says_what_is_wrong(unpack, payload: bytes, what: str) -> None:
    """The error names the part that cannot be read."""
    with pytest.raises(UnreadableFrame, match=what):
        list(unpack(payload))
