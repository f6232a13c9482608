"""Tracebacks are trimmed to what the user has written."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import pytest

from fal_core import Executor
from fal_core.errors import OptionError, PluginError
from fal_core.tracebacks.trimming import begins_at_caller, trim, trim_to_user
from fal_testing import InProcessHost


def names_of(error: BaseException) -> list[str]:
    """Return the functions that stand in the traceback of *error*."""
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]


def raise_deeply(error: Exception) -> None:
    def inner() -> None:
        raise error

    inner()


def test_an_error_of_ours_begins_at_the_caller() -> None:
    """It says by itself what is wrong, so that nothing below the call is shown."""
    with pytest.raises(OptionError) as caught:
        begins_at_caller(raise_deeply)(OptionError("no"))
    assert names_of(caught.value)[1:] == ["call"]


def test_an_error_that_nobody_meant_keeps_its_frames() -> None:
    """It is a mistake of ours, and where it happened is needed to find it."""
    with pytest.raises(KeyError) as caught:
        begins_at_caller(raise_deeply)(KeyError("no"))
    assert names_of(caught.value)[1:] == ["call", "raise_deeply", "inner"]


def test_a_helper_of_the_user_that_hides_itself_keeps_its_frames() -> None:
    """Tests of a user hide frames as ours do, and what such a frame raises says where it was."""

    def check() -> None:
        __tracebackhide__ = True
        raise KeyError("no")

    with pytest.raises(KeyError) as caught:
        begins_at_caller(check)()
    assert names_of(caught.value)[1:] == ["call", "check"]


def test_causes_of_ours_have_no_frames_but_those_of_plugins_do() -> None:
    """
    A cause of a class of ours only repeats where ours failed; what a plugin has raised is for
    its author.
    """
    for error, has_frames in ((OptionError("no"), False), (PluginError("p", "no"), True)):
        try:
            raise_deeply(OptionError("cause"))
        except OptionError as cause:
            error.__cause__ = cause
        trim(error)
        assert error.__cause__ is not None
        assert (error.__cause__.__traceback__ is not None) is has_frames


def test_an_error_of_the_user_here_begins_with_the_user() -> None:
    """What code of the user has raised in this process keeps the frames of that code."""
    with pytest.raises(OptionError) as caught:
        raise_deeply(OptionError("mine"))
    assert names_of(trim_to_user(caught.value))[-2:] == ["raise_deeply", "inner"]


def test_every_way_to_call_has_one_frame_of_ours() -> None:
    """However a function is called, its error has the frame of the user and that of the call."""
    from fal_core import function

    @function("current", host=InProcessHost())
    def fail(number: int) -> None:
        raise LookupError("gone")

    class Model:
        @function("current", host=InProcessHost())
        def fail(self, number: int) -> None:
            raise LookupError("gone")

    ways = (
        lambda: fail(1),
        lambda: fail.submit(1).result(30),
        lambda: fail.spawn(1).return_value,
        lambda: list(fail.map([1])),
        lambda: Model().fail(1),
        lambda: list(Model().fail.map([1])),
    )
    for way in ways:
        with pytest.raises(LookupError) as caught:
            way()
        assert len(names_of(caught.value)) == 3, names_of(caught.value)


def test_what_an_event_loop_waits_for_has_no_frame_of_ours() -> None:
    """A future that is awaited through asyncio raises what the function did, and nothing else."""
    from fal_core import function

    @function("current", host=InProcessHost())
    def fail() -> None:
        raise LookupError("gone")

    for future in (fail.submit(), fail.spawn().future):
        wait([future])
        error = future.exception()
        assert error is not None
        assert names_of(error) == []


def test_every_refused_call_has_one_frame_of_ours() -> None:
    """A call that cannot work is refused where it is written, whichever way it takes."""
    from fal_core import function

    @function("current", host=InProcessHost())
    def double(number: int) -> int:
        return 2 * number

    class Model:
        @function("current", host=InProcessHost())
        def double(self, number: int) -> int:
            return 2 * number

    anything: Any = (double, Model().double)
    ways = (
        lambda: anything[0](),
        lambda: anything[0].aio(),
        lambda: anything[0].map(5),
        lambda: anything[1](),
        lambda: anything[1].aio(),
        lambda: anything[1].submit(),
        lambda: anything[1].map(),
        lambda: anything[1].map(5),
        lambda: Executor("current", host=InProcessHost(), nope=1),
    )
    for way in ways:
        with pytest.raises((TypeError, OptionError)) as caught:
            way()
        assert len(names_of(caught.value)) == 3, names_of(caught.value)


def test_the_iterables_of_an_executor_are_of_the_user() -> None:
    """What they raise begins with their own frame, below the call."""

    def items() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    pool = Executor("current", host=InProcessHost())
    with pool, pytest.raises(LookupError) as caught:
        pool.map(abs, items())
    assert names_of(caught.value)[1:] == ["map", "items"]


def test_an_error_that_is_raised_twice_has_one_traceback() -> None:
    """A future that is asked again does not collect the frames of both."""
    from fal_core import function

    @function("current", host=InProcessHost())
    def fail() -> None:
        raise LookupError("gone")

    future = fail.submit()
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            future.result(30)
        assert len(names_of(caught.value)) == 2
