"""Messages of agents: what is packed comes out again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_server_agent.messages import UnreadableMessage, pack, unpack

values = st.none() | st.booleans() | st.integers() | st.text()


@given(
    header=st.dictionaries(st.text().filter(lambda it: it != "sizes"), values, max_size=3),
    parts=st.lists(st.binary(max_size=20), max_size=3),
)
def test_message_is_unpacked_as_it_was_packed(header, parts):
    """A header and any number of parts, also empty ones, arrive as they were."""
    assert unpack(pack(header, *parts)) == (header, parts)


@given(data=st.data())
def test_whatever_comes_is_a_message_or_an_error(data: st.DataObject):
    """Bytes of any kind, and messages that were changed or cut, are read or refused."""
    written = st.builds(pack, st.dictionaries(st.text(max_size=3), values), st.binary())
    changed = bytearray(data.draw(st.binary() | written))
    if changed:
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    try:
        header, parts = unpack(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    except UnreadableMessage:
        return
    assert isinstance(header, dict)
    assert sum(map(len, parts)) <= len(changed)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"", "no header"),
        (b"\xff\xff\xff\xff", "not JSON"),
        (b"\2\0\0\0[]", "no header"),
        (b'\x0e\0\0\0{"sizes": [3]}', "has 18 bytes, and tells of 21"),
        (b'\x0f\0\0\0{"sizes": [-1]}', "a part has no size"),
        (b"\xa0\x86\1\0" + b"[" * 100_000, "no header"),
    ],
)
def test_refusal_says_what_is_wrong(message: bytes, what: str):
    """The error names the part that cannot be read."""
    with pytest.raises(UnreadableMessage, match=what):
        unpack(message)
