"""
Messages of agents: what is packed comes out again.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fal_server_agent.messages import pack, unpack

values = st.none() | st.booleans() | st.integers() | st.text()


@given(
    header=st.dictionaries(st.text().filter(lambda it: it != "sizes"), values, max_size=3),
    parts=st.lists(st.binary(max_size=20), max_size=3),
)
def test_message_is_unpacked_as_it_was_packed(header, parts):
    """
    A header and any number of parts, also empty ones, arrive as they were.
    """
    assert unpack(pack(header, *parts)) == (header, parts)
