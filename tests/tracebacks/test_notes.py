"""Notes of errors."""

from __future__ import annotations

import sys

import pytest

from fal_core.facts import copy_error
from fal_core.tracebacks.notes import note_item
from fal_core_worker.opening.exceptions import RemoteTraceback


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((0,), "(0,)"),
        (("a", None), "('a', None)"),
        ((b"x" * 100,), "(<bytes of 100>,)"),
        ((), "()"),
    ],
)
def test_a_note_says_which_item_it_was(arguments: tuple[object, ...], shown: str) -> None:
    """The place of the item is counted from 0, and large arguments are shortened."""
    error = ValueError("no")
    error.__cause__ = remote = RemoteTraceback("ValueError: no\n")
    note_item(error, 7, arguments)
    note = f"item 7 of the map: {shown}"
    assert error.__notes__ == [note]
    # Python 3.10 shows no notes of its own.
    shows = sys.version_info >= (3, 11)
    assert remote.text == ("ValueError: no\n" if shows else f"ValueError: no\n{note}\n")


def test_arguments_that_were_given_by_name_are_shown_with_it() -> None:
    """An item may have arguments by position, and others by name."""
    error = ValueError()
    note_item(error, 0, (1,), {"x": b"x" * 100})
    assert error.__notes__ == ["item 0 of the map: (1, x=<bytes of 100>)"]


def test_long_texts_are_shortened() -> None:
    """A note stays one line that can be read."""
    error = ValueError()
    note_item(error, 0, ("x" * 1000,))
    assert len(error.__notes__[0]) < 100


def test_items_that_have_an_error_in_common_have_notes_of_their_own() -> None:
    """What ends a whole batch, with a note of its own, is noted for each item alone."""
    error = ValueError()
    error.__notes__ = ["of the setup"]
    errors = [error, copy_error(error), copy_error(error)]
    for number, each in enumerate(errors):
        note_item(each, number, ())
    assert [each.__notes__ for each in errors] == [
        ["of the setup", f"item {number} of the map: ()"] for number in range(3)
    ]


def test_an_exception_that_takes_no_notes_stays_as_it_is() -> None:
    """A class that refuses attributes does not hide the error itself."""

    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError("frozen")

    error = Frozen()
    note_item(error, 0, ())
    assert type(error) is Frozen
