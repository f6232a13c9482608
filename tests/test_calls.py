"""Calls: envelopes that hosts move and do not open."""

from __future__ import annotations

import attrs
import pytest

from fal_core import function
from fal_core.calls import SourceArchive
from fal_testing import InProcessHost


def test_calls_are_not_compared_by_what_is_in_them() -> None:
    """Two calls of one function with the same arguments are two, of one sealed function."""
    launcher = function("current", host=InProcessHost())(len).make_launcher()
    one, two = (launcher.call((("four",), {})) for _ in range(2))
    assert one.id != two.id
    assert one.function is two.function
    assert len({one, two}) == 2
    assert attrs.evolve(one) != one
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.batch = 3  # type: ignore[misc]


def test_what_travels_is_shown_by_its_size() -> None:
    """A source archive is not printed whole."""
    shown = repr(SourceArchive("abc", b"x" * 100_000))
    assert shown == "SourceArchive(digest='abc', data=<100000 bytes>)"
