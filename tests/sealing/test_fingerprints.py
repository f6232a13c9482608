"""Fingerprints: a seal is stale once a capture has changed."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core.sealing.functions import seal_function


def _world() -> tuple[dict[str, Any], Any]:
    text = "scale = 2\ndef helper(x): return x * scale\ndef f(x, y=1): return helper(x) + y\n"
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(text, space)
    return space, space["f"]


@pytest.mark.parametrize(
    "change",
    [
        lambda space, f: space.update(scale=3),
        lambda space, f: space.update(helper=lambda x: x),
        lambda space, f: setattr(f, "__defaults__", (5,)),
        lambda space, f: setattr(f, "__code__", (lambda x, y=1: 0).__code__),
    ],
)
def test_seal_is_fresh_until_a_capture_changes(change: Any) -> None:
    """A captured global, at any depth, a default or the code makes a seal stale."""
    space, f = _world()
    seal = seal_function(f)
    space["unrelated"] = 1
    assert seal.captures.are_unchanged()

    change(space, f)
    assert not seal.captures.are_unchanged()


def test_seal_sees_cells_and_hidden_builtins() -> None:
    """A cell that is bound again makes a seal stale, and so does a hidden builtin."""
    value = 1

    def f() -> Any:
        return value, len("")

    seal = seal_function(f)
    value = 2
    assert not seal.captures.are_unchanged()
    seal = seal_function(f)
    assert seal.captures.are_unchanged()
    f.__globals__["len"] = max
    try:
        assert not seal.captures.are_unchanged()
    finally:
        del f.__globals__["len"]
