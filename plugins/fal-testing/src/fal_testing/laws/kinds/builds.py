"""Laws of builds: an environment is built once on a machine, or it is an error that says why."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import attrs
import pytest

from fal_core import function
from fal_core.environments import Environment
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_testing.harness.builders import build_at_once
from fal_testing.harness.expectations import expect, named
from fal_testing.hosts.process_per_call import ProcessHost

#: How many processes need an environment at once.
MANY = 32
#: How many need what cannot be built.
SOME = 8

_STORE = "A DirectoryStore sees to that: build in what find_or_build calls."


def test_many_processes_cause_one_build(unbuilt: Environment, law_timeout: float) -> None:
    """
    Of many processes of a machine that need one new environment at once, one builds it, and
    the others wait and find it built.
    """
    if unbuilt.is_built():
        pytest.skip(f"Nothing is built for an environment of kind {unbuilt.kind!r}.")
    found = build_at_once(unbuilt, MANY, law_timeout)
    errors = [each.error for each in found if each.error]
    assert not errors, (
        f"{MANY} processes built one environment at once, and {len(errors)} of them raised an "
        f"error, the first of them {errors[0]}. {_STORE}"
    )
    built = [each for each in found if each.has_built]
    lines = " and ".join(repr(each.lines[0]) for each in built[:2])
    told = f", told {lines}" if lines else ""
    assert len(built) == 1, (
        f"{MANY} processes needed one environment at once: expected that one of them builds, "
        f"and is told so by its builder, and {len(built)} did{told}. "
        f"{_STORE} Who waits is told a line that begins with 'Waiting for', and who finds it "
        "built is told none."
    )
    assert unbuilt.is_built(), (
        "Processes have built an environment, and is_built() says that it is not built. "
        "Have it look for what build leaves."
    )


def test_who_waits_for_a_build_that_fails_takes_its_error(
    unsolvable: Environment, law_timeout: float
) -> None:
    """
    Of many processes that need at once what cannot be built, those that wait for the build of
    another raise its error, and do not build in their turn, one after the other.
    """
    found = build_at_once(unsolvable, SOME, law_timeout)
    silent = [each for each in found if not each.error]
    assert not silent, (
        f"{SOME} processes needed what cannot be built: expected that each raises an error, "
        f"and {len(silent)} of them raised none. {_STORE}"
    )
    again = [each for each in found if each.has_waited and each.has_built]
    assert not again, (
        f"{SOME} processes needed what cannot be built: expected that those which waited for a "
        f"build that failed raise its error, and {len(again)} of them built once more. {_STORE}"
    )


def test_what_is_built_is_found(unbuilt: Environment) -> None:
    """An environment that was built is found by the next build, which builds nothing."""
    unbuilt.build(_ignore, Event())
    assert unbuilt.is_built(), (
        "An environment was built, and is_built() says that it is not. Have it look for what "
        "build leaves."
    )
    lines: list[Log] = []
    unbuilt.build(lines.append, Event())
    expect(
        [line.message for line in lines],
        [],
        "The lines of the builder of an environment that was built before",
        "Look for what is there before anything is built, as find_or_build does.",
    )


def test_a_function_runs_in_what_is_built(unbuilt: Environment, law_timeout: float) -> None:
    """A function that declares the environment runs in it, and its answer comes back."""

    def answer(number: int) -> int:
        return 2 * number

    look = "The command of the interpreter starts its Python with the given arguments."
    expect(_declare(unbuilt, answer)(21), 42, "What a function returned", look)


def test_a_build_that_nobody_waits_for_ends(unbuilt: Environment) -> None:
    """A build that is cancelled raises ``Cancelled`` and leaves nothing, and the next one builds."""
    cancelled = Event()
    lines: list[Log] = []

    def log(line: Log) -> None:
        lines.append(line)
        cancelled.set()

    error: BaseException | None = None
    try:
        unbuilt.build(log, cancelled)
    except BaseException as raised:
        error = raised
    if not lines and error is None:
        pytest.skip("The builder says nothing that it could be cancelled at.")
    assert isinstance(error, Cancelled), (
        f"A build was cancelled as it said {lines and lines[0].message!r}: expected Cancelled, "
        f"and {named(error) if error else 'no error'} was raised. Ask cancelled between two "
        "steps, and while a program runs."
    )
    assert not unbuilt.is_built(), (
        "A build was cancelled, and is_built() says that it is built. Make an entry of it "
        "once it is whole."
    )
    unbuilt.build(_ignore, Event())


def test_an_environment_that_cannot_be_solved_is_an_error(
    unsolvable: Environment, law_timeout: float
) -> None:
    """
    A build that cannot succeed raises ``EnvironmentBuildError`` with the reason within
    seconds, as often as it is tried, and so does a call of a function that needs it.
    """

    def never_run() -> int:
        return 1

    builds = [_outcome_of_build(unsolvable, law_timeout) for _ in range(2)]
    future = _declare(unsolvable, never_run).submit()
    for what, error in (
        ("A build", builds[0]),
        ("The same build once more", builds[1]),
        ("A call of a function that needs it", future.exception(law_timeout)),
    ):
        assert isinstance(error, EnvironmentBuildError), (
            f"{what} of what cannot be solved: expected EnvironmentBuildError, and "
            f"{named(error) if error else 'no error'} was raised. End the build as soon as it "
            "is known to fail, and raise the reason of the builder as this error."
        )
        found = (error.kind, bool(error.reason))
        what = f"{what} of what cannot be solved: the kind, and whether there is a reason"
        expect(
            found, (unsolvable.kind, True), what, "Raise EnvironmentBuildError(kind, reason)."
        )


def _ignore(line: Log) -> None:
    """Take a line that is no matter of the law."""


def _declare(environment: Environment, func: Any) -> Any:
    """Return *func* as a function that declares *environment*."""
    cls: Any = type(environment)
    options = {
        field.alias: getattr(environment, field.name)
        for field in attrs.fields(cls)
        if field.init and getattr(environment, field.name) != field.default
    }
    return function(environment.kind, host=ProcessHost(), **options)(func)


def _outcome_of_build(environment: Environment, timeout: float) -> BaseException | None:
    """
    Return what a build has raised, if anything.

    Raises:
        AssertionError: It has not ended after *timeout* seconds.
    """
    errors: list[BaseException] = []
    cancelled = Event()

    def build() -> None:
        try:
            environment.build(_ignore, cancelled)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=build, daemon=True)
    thread.start()
    thread.join(timeout)
    cancelled.set()
    assert not thread.is_alive(), (
        f"A build of what cannot be solved had not ended after {timeout:g} s: callers would "
        "wait for ever. Raise an EnvironmentBuildError as soon as it is known to fail."
    )
    return errors[0] if errors else None
