"""Laws of environments: a function has what it declares, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import EnvironmentBuildError
from fal_core.hosts import Host
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_error
from fal_testing.variables import VARIABLE, python_with_variables, was_built_here

LOOK = "Run a call with the interpreter that call.environment.build returns."

Virtual = Callable[..., Callable[[Callable[..., Any]], Any]]


@pytest.fixture
def requirement() -> tuple[str, str]:
    """A small requirement that is not installed here, and the module it provides."""
    return "cowsay==6.1", "cowsay"


@pytest.fixture
def virtual(host: Host[..., Any]) -> Virtual:
    """The decorator for functions with requirements, where an environment builds them."""
    from fal_core.plugins import load_plugins

    if "virtualenv" not in load_plugins().environments:
        pytest.skip("No installed plugin provides kind 'virtualenv'.")

    def decorate(**options: Any) -> Any:
        return function("virtualenv", host=host, on_unsupported="ignore", **options)

    return decorate


@requires("kind virtualenv")
def test_a_function_has_its_requirements(
    virtual: Virtual, requirement: tuple[str, str]
) -> None:
    """A function imports what it requires, whether or not the caller has it."""
    name, module = requirement

    @virtual(requirements=[name])
    def find(module: str) -> str:
        import importlib

        return importlib.import_module(module).__name__

    expect(find(module), module, "The module that a function has imported", LOOK)


@requires("kind virtualenv")
def test_functions_do_not_share_their_requirements(
    virtual: Virtual, requirement: tuple[str, str]
) -> None:
    """A function does not see packages that only another one requires."""
    name, module = requirement

    def is_there(module: str) -> bool:
        import importlib.util

        return importlib.util.find_spec(module) is not None

    with_it = virtual(requirements=[name])(is_there)
    without = virtual()(is_there)
    found = [with_it(module), without(module)]
    what = "Whether a package is there for the function that requires it, and for another"
    expect(found, [True, False], what, f"{LOOK} Share workers by environment.key.")


@requires("kind virtualenv")
def test_an_environment_that_cannot_be_built_is_an_error(virtual: Virtual) -> None:
    """A requirement that does not exist is an ``EnvironmentBuildError`` that names it."""

    @virtual(requirements=["fal-core-no-such-project==1.0"])
    def never_run() -> int:
        return 1

    look = "End the call with what build raises as the reason in Exited."
    with expect_error(EnvironmentBuildError, look, match="fal-core-no-such-project"):
        never_run()


@requires("kind virtualenv")
def test_values_travel_between_environments(
    virtual: Virtual, requirement: tuple[str, str]
) -> None:
    """Classes of the caller travel to an environment that has none of its packages."""
    from dataclasses import dataclass

    @dataclass
    class Point:
        x: int

    name, _ = requirement

    @virtual(requirements=[name])
    def move(point: Point) -> Point:
        return Point(point.x + 1)

    moved = move(Point(1))
    assert type(moved) is Point, (
        f"The caller's class came back as another: expected {Point}, found {type(moved)}. "
        "Pass on what is sealed as it came."
    )
    expect(moved.x, 2, "A field of the value that came back", LOOK)


@requires("kind python-with-variables")
def test_a_worker_has_the_variables_of_its_environment(host: Host[..., Any]) -> None:
    """A function sees the variables that the command of its interpreter has."""

    def read_variable(name: str) -> str | None:
        import os

        return os.environ.get(name)

    with python_with_variables() as value:
        decorate = function(
            "python-with-variables",
            host=host,
            on_unsupported="ignore",
            options={"law_value": value},
        )
        try:
            found = decorate(read_variable)(VARIABLE)
        except Exception:
            if was_built_here(value):
                raise
            # The process that builds it elsewhere does not know this kind.
            found = None
    if not was_built_here(value):
        pytest.skip("The host asks for no build in this process.")
    look = (
        "Start the worker with the whole Command that Interpreter.command returns, as in "
        "Worker.start(start.build().command(ARGUMENTS)). Where another program starts it, add "
        "command.variables to the environment of the process beside command.argv."
    )
    expect(found, value, "A variable of the environment, as the function sees it", look)
