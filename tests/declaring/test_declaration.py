"""The declaration of an isolated function."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import pytest

from fal_core import function
from fal_core.declaring.declaration import Declaration
from fal_core.errors import UnknownOptionError, WrongKindError
from fal_core.options import Options
from fal_testing import InProcessHost


def plain() -> None: ...


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@functools.wraps(generator)
def wrapped() -> Any:
    return generator()


@pytest.mark.parametrize(
    ("func", "flavour"),
    [
        (plain, "function"),
        (coroutine, "coroutine"),
        (generator, "generator"),
        (async_generator, "async generator"),
        (wrapped, "generator"),
        (functools.partial(generator), "generator"),
        (None, "function"),
    ],
)
def test_flavours(func: Callable[..., Any] | None, flavour: str) -> None:
    """Wrappers and partials do not hide whether a function is a coroutine or a generator function."""
    declaration = Declaration(host=InProcessHost(), raw_func=func, options=Options())

    assert declaration.flavour == flavour
    assert declaration.is_generator == flavour.endswith("generator")


def test_a_declaration_does_not_change_with_its_function() -> None:
    """A declaration stays as the function declared it when it was read."""
    isolated = function("current", host=InProcessHost())(plain)
    before = isolated.declaration
    isolated.reraise = False

    assert before.reraise
    assert not isolated.declaration.reraise
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.reraise = False  # type: ignore[misc]  # it is frozen


def test_a_change_makes_another_declaration() -> None:
    """Other options, hosts and policies leave the declaration as it is."""
    here, there = InProcessHost(), InProcessHost()
    declaration = function("current", host=here, keep_alive=5)(plain).declaration

    other = declaration.on(there, {"keep_alive": 7}).with_policy({"retries": 2})

    assert (other.host, other.options.host["keep_alive"], other.policy.retries) == (there, 7, 2)
    assert declaration.host is here
    assert declaration.options.host["keep_alive"] == 5
    with pytest.raises(UnknownOptionError):
        declaration.on(None, {"keep_alife": 7})


def test_services() -> None:
    """A function is a service if it is served, or brings its own server."""
    options = {
        "none": Options(),
        "served": Options(gateway={"serve": True}),
        "own server": Options(gateway={"exposed_port": 8000}),
    }

    assert [
        Declaration(host=InProcessHost(), raw_func=plain, options=each).is_service
        for each in options.values()
    ] == [False, True, True]


def test_options_of_another_kind_are_kept_for_it() -> None:
    """
    A function that is put on another kind of environment keeps the options that this kind
    lacks, and has them again on one with them.
    """
    pytest.importorskip("fal_env_virtualenv")
    declared = {"requirements": ["six"], "python_version": "3.11", "keep_alive": 5}
    declaration = function("virtualenv", host=InProcessHost(), **declared)(plain).declaration
    here = declaration.on(None, {"kind": "current"})
    assert here.options.environment == {"kind": "current"}
    assert here.options.kept == {"requirements": ["six"], "python_version": "3.11"}
    still = here.on(None, {"keep_alive": 6})
    assert still.options.kept == here.options.kept
    back = still.on(None, {"kind": "virtualenv", "python_version": "3.12"})
    assert back.options.environment == {
        "kind": "virtualenv",
        "requirements": ["six"],
        "python_version": "3.12",
    }
    assert back.options.kept == {}
    # What is written with a kind that lacks it is a mistake.
    with pytest.raises(WrongKindError, match="'requirements' belongs to kind"):
        declaration.on(None, {"kind": "current", "requirements": ["six"]})


def test_a_change_may_have_the_spelling_of_the_sdk() -> None:
    """An option that is changed replaces the declared one, however either is spelled."""
    pytest.importorskip("fal_env_virtualenv")
    declaration = function("virtualenv", host=InProcessHost(), force=True)(plain).declaration
    other = declaration.on(None, {"force_env_build": False})
    assert other.options.environment == {"kind": "virtualenv", "force": False}
