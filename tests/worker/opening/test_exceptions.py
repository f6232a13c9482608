"""Exceptions of functions, as their callers see them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.errors import UserFunctionException
from fal_core_worker.opening.exceptions import RemoteTraceback


def echo(value: Any) -> Any:
    return value


class Odd(LookupError):
    """Takes other arguments than it passes on."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Doubling(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text * 2)


@attrs.define
class Slotted(Exception):
    code: int
    text: str = "t"


class Holding(Exception):
    def __init__(self, held: Any) -> None:
        super().__init__("held", held)
        self.held = held


def fail(which: str) -> None:
    if which == "odd":
        raise Odd(code=4)
    if which == "doubling":
        raise Doubling("ab")
    if which == "slotted":
        raise Slotted(3)
    if which == "frozen":
        raise Frozen(9)
    if which == "holding":
        raise Holding(threading.current_thread())
    if which == "chained":
        try:
            {}["k"]
        except KeyError as error:
            raise Odd(code=5) from error
    if which == "in handler":
        try:
            {}["k"]
        except KeyError:
            raise Odd(code=5)  # noqa: B904  # chained by itself
    if which == "noted":
        error = ValueError("v")
        error.__dict__["__notes__"] = ["a note"]
        raise error
    if which == "unicode":
        b"\xff".decode()
    if which == "file":
        open("/nonexistent/file")  # noqa: SIM115  # it is not there
    if which == "interrupt":
        raise KeyboardInterrupt
    if which == "exit":
        raise SystemExit(3)
    if which == "import":
        import nonexistent_module  # noqa: F401  # it is not there


@attrs.frozen
class Frozen(Exception):
    code: int


EXPECTED: dict[str, tuple[type[BaseException], str, dict[str, Any]]] = {
    "odd": (Odd, "code 4", {"code": 4}),
    "doubling": (Doubling, "abab", {}),
    "slotted": (Slotted, "(3, 't')", {"code": 3, "text": "t"}),
    "frozen": (Frozen, "9", {"code": 9}),
    "noted": (ValueError, "v", {"__notes__": ["a note"]}),
    "unicode": (UnicodeDecodeError, "'utf-8' codec can't decode", {"start": 0}),
    "file": (FileNotFoundError, "/nonexistent/file", {"errno": 2}),
    "interrupt": (KeyboardInterrupt, "", {}),
    "exit": (SystemExit, "3", {"code": 3}),
    "import": (ModuleNotFoundError, "nonexistent_module", {"name": "nonexistent_module"}),
}


@pytest.mark.parametrize("which", EXPECTED)
def test_exception_arrives_as_itself(worker: Any, which: str) -> None:
    """
    Class, message and attributes are those raised, and the traceback is the cause. What is
    no ``Exception`` arrives as the cause of one.
    """
    kind, text, attributes = EXPECTED[which]
    (error,) = worker(fail, (which,))
    if not issubclass(kind, Exception):
        assert type(error) is UserFunctionException
        error = error.__cause__

    assert type(error) is kind
    assert text in str(error)
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__)
    assert "raise" in str(error.__cause__) or which in ("unicode", "file", "import")


@pytest.mark.parametrize("which", ["chained", "in handler"])
def test_causes_stay_visible(worker: Any, which: str) -> None:
    """The exception's own cause or context stands behind the remote traceback."""
    (error,) = worker(fail, (which,))

    behind = error.__cause__.__cause__ or error.__cause__.__context__
    assert type(behind) is KeyError
    assert "in fail" in str(behind.__cause__)


def test_exception_with_values_that_cannot_travel(worker: Any) -> None:
    """The exception keeps its class, with texts in place of values that cannot travel."""
    (error,) = worker(fail, ("holding",))

    assert type(error) is Holding
    assert "MainThread" in error.held
    assert error.args[0] == "held"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="There are no groups before 3.11.")
def test_exception_with_a_note_that_has_no_text(worker: Any) -> None:
    """A note that cannot be shown keeps nothing else of the exception from arriving."""

    class Silent:
        def __str__(self) -> str:
            raise LookupError("no text")

    def fail_with_note() -> None:
        error = ValueError("v")
        error.__dict__["__notes__"] = [Silent(), "a note"]
        raise error

    (error,) = worker(fail_with_note, ())

    assert type(error) is ValueError
    assert str(error) == "v"
    assert error.__dict__["__notes__"][1] == "a note"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has no groups of exceptions.")
def test_group_of_exceptions(worker: Any) -> None:
    """A group comes with its members as themselves, each with its traceback."""

    def fail_together() -> None:
        members = []
        for which in ("odd", "holding"):
            try:
                fail(which)
            except Exception as error:
                members.append(error)
        raise ExceptionGroup("both", members)  # noqa: F821  # from 3.11 on

    (group,) = worker(fail_together, ())

    assert type(group).__name__ == "ExceptionGroup"
    assert [type(member) for member in group.exceptions] == [Odd, Holding]
    assert all("in fail" in str(member.__cause__) for member in group.exceptions)
    assert "in fail_together" in str(group.__cause__)


def test_class_that_is_not_here(worker: Any) -> None:
    """A stand-in has the name and bases of the class, so the same handlers catch it."""
    Path(worker.folder, "only_there.py").write_text(
        "class Base(LookupError): pass\n"
        "class Gone(Base):\n"
        "    def __init__(self, *, code):\n"
        "        self.code = code\n"
        "    def __str__(self): return f'gone {self.code}'\n"
    )

    def fail_there() -> None:
        import only_there

        error = only_there.Gone(code=7)
        error.__dict__["__notes__"] = ["a note"]
        raise error

    first, second = worker(fail_there, (), ())

    assert isinstance(first, LookupError)
    assert [base.__name__ for base in type(first).__mro__[:3]] == [
        "Gone",
        "Base",
        "LookupError",
    ]
    assert type(first).__module__ == "only_there"
    assert type(first) is type(second)
    assert str(first) == "gone 7"
    assert first.code == 7
    assert first.__notes__ == ["a note"]
