"""Bodies of requests that were just stored."""

from __future__ import annotations

from fal_server.store.recent_bodies import RecentBodies


def test_the_oldest_bodies_make_room():
    """No more than so many bytes are kept, and those of the newest requests."""
    bodies = RecentBodies(most=3_000)
    for number in range(100):
        bodies.keep(str(number), b"x" * 800)
    assert bodies.take("96") is None
    assert bodies.take("97") == b"x" * 800
    assert bodies.take("97") is None
    bodies.keep("one", b"")
    assert bodies.take("99") == b"x" * 800
    assert bodies.take("one") == b""


def test_a_body_that_is_too_large_is_not_kept():
    """A body that would take all room keeps none."""
    bodies = RecentBodies(most=1_000)
    bodies.keep("large", b"x" * 2_000)
    assert bodies.take("large") is None
    bodies.keep("small", b"x")
    assert bodies.take("small") == b"x"
