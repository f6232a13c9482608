"""Values: arguments are opened, and results and exceptions sealed."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from fal_core.sealing.opener import Opener
from fal_core_worker.opening.exceptions import RemoteTraceback
from fal_core_worker.opening.seals import PLAIN_PREFIX, MissingModule, Sealed, SealingError
from fal_core_worker.opening.values import (
    open_arguments,
    remember_classes,
    seal_error,
    seal_value,
)


def echo(value: Any) -> Any:
    return value


def test_sealing_an_error_never_fails() -> None:
    """An exception whose ``str`` and ``__reduce__`` raise still arrives with its class name."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        def __reduce__(self) -> Any:
            raise RuntimeError

    error = Broken()
    error.__context__ = error.__cause__ = Broken()

    opened = Opener(name="echo").open_error(seal_error(error, echo))
    assert type(opened).__name__ == "Broken"
    assert isinstance(opened.__cause__, RemoteTraceback)


class Carried(Exception):
    """Brings a traceback along, as every exception does where tblib has been set up."""

    def __reduce__(self) -> Any:
        return type(self), (), {"text": "carried"}

    def __setstate__(self, state: Any) -> None:
        try:
            raise LookupError(state["text"])
        except LookupError as error:
            self.__traceback__ = error.__traceback__


def test_frames_from_there_are_text_alone() -> None:
    """The traceback of what was raised elsewhere is in its cause, and not once more in itself."""
    opened = Opener(name="echo").open_error(seal_error(Carried(), None))
    assert type(opened) is Carried
    assert isinstance(opened.__cause__, RemoteTraceback)
    assert opened.__traceback__ is None


def test_long_chains_of_exceptions_are_cut() -> None:
    """Only a part of a chain of thousands of exceptions is sent."""
    error = first = ValueError("last")
    for _ in range(5000):
        first.__cause__ = ValueError("earlier")
        first = first.__cause__

    assert str(Opener(name="echo").open_error(seal_error(error, None))) == "last"


def test_classes_of_a_function_travel_as_their_identity() -> None:
    """
    A result of a class that arrived with the function holds no code, for as long as the
    function is held.
    """

    class Size:
        width = 1

    def measure() -> None: ...

    assert seal_value(Size(), measure).contains_code
    remember_classes(measure, frozenset({Size}))
    sealed = seal_value(Size(), measure)
    assert not sealed.contains_code
    assert type(Opener(name="measure").open_value(sealed)) is Size

    del measure
    gc.collect()

    def other() -> None: ...

    assert seal_value(Size(), other).contains_code


def test_an_argument_that_cannot_be_opened_names_the_function() -> None:
    """The error says whose argument it is, also of the plain ones that are opened in a hurry."""
    assert open_arguments(Sealed(PLAIN_PREFIX + b"\x80\x05K\x07."), echo) == 7
    with pytest.raises(SealingError, match="an argument of 'echo'"):
        open_arguments(Sealed(PLAIN_PREFIX + b"no pickle"), echo)
    missing = PLAIN_PREFIX + b"cno_such_module\nname\n."
    with pytest.raises(MissingModule, match="module 'no_such_module' is not found"):
        open_arguments(Sealed(missing), echo)
    with pytest.raises(SealingError, match="an argument of 'list'"):
        open_arguments(Sealed(PLAIN_PREFIX + b"no pickle"), list[int]())  # type: ignore[arg-type]
