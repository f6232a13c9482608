"""Arguments that do not fit are refused as Python refuses them, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core import function
from fal_testing import InProcessHost


def plain(a, b, c=1): ...


def only(a, /, b, *, c, d=2): ...


def star(a, *rest, c=3): ...


def double(a, /, b=1, **rest): ...


def nothing(): ...


def everything(*a, **k): ...


FUNCTIONS = (plain, only, star, double, nothing, everything)


def refused(call: Callable[[], Any]) -> str:
    """Return what Python says of *call*; empty where it fits."""
    try:
        call()
    except TypeError as error:
        return str(error)
    return ""


@given(
    st.sampled_from(FUNCTIONS),
    st.integers(0, 4),
    st.sets(st.sampled_from(["a", "b", "c", "d", "rest", "x"])),
)
def test_what_is_refused_is_what_python_refuses(
    func: Callable[..., Any], count: int, names: set[str]
) -> None:
    """A call is refused if and only if Python would, and in its words."""
    isolated = function("current", host=InProcessHost())(func)
    args, kwargs = (0,) * count, dict.fromkeys(sorted(names), 0)
    said = refused(lambda: isolated.check_arguments(args, kwargs))
    assert said == refused(lambda: func(*args, **kwargs))
    # What fits once is not looked at again.
    assert refused(lambda: isolated.check_arguments(args, kwargs)) == said


def test_nothing_is_sent() -> None:
    """The error comes before the host hears of the call, in every way to call."""

    class NoHost(InProcessHost):
        def launch(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("It was sent.")

    isolated = function("current", host=NoHost())(plain)
    ways = (
        lambda: isolated(1),
        lambda: isolated.submit(1),
        lambda: isolated.spawn(1),
        lambda: isolated.map([1]),
        lambda: isolated.aio(1),
        lambda: isolated.run_local(1),
    )
    for way in ways:
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
            way()


def test_a_wrapped_function_takes_what_its_wrapper_does() -> None:
    """A decorator may pass arguments that the caller does not give."""
    import functools

    @function("current", host=InProcessHost())
    @functools.wraps(plain)
    def wrapper(*args: Any) -> Any:
        return plain(*args, 2)

    wrapper(1)


def test_what_the_setup_returns_counts() -> None:
    """The function is given it before the arguments of the call."""

    @function("current", host=InProcessHost(), setup_function=lambda: 5)
    def add(model: int, number: int) -> int:
        return model + number

    assert add.declaration.takes(1, ())
    assert not add.declaration.takes(2, ())


def test_few_shapes_are_remembered() -> None:
    """A function that takes any name does not make the caller grow."""
    isolated = function("current", host=InProcessHost())(everything)
    for number in range(200):
        isolated.check_arguments((), {f"name{number}": 1})
    assert len(isolated._shapes) <= 64
