"""Facts: the fields of an error."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from fal_core.errors import HostError, OutOfMemory, Timeout, WorkerLost
from fal_core.facts import facts, facts_of, with_facts


@facts
class OutOfPaper(HostError):
    """An error of a plugin."""

    printer: str
    tray: int = 1

    def __str__(self) -> str:
        return f"Tray {self.tray} of {self.printer} is empty."


@facts
class OutOfGlossyPaper(OutOfPaper):
    """An error with more facts than its base class."""

    size: str = "A4"


@pytest.mark.parametrize(
    "error",
    [
        OutOfPaper("east", 2),
        OutOfPaper("east", tray=2),
        OutOfPaper(tray=2, printer="east"),
        OutOfGlossyPaper("east", 2, "A3"),
    ],
)
def test_facts_are_given_by_position_or_by_name(error):
    """Facts become attributes of the error, and its sentence is made of them."""
    assert (error.printer, error.tray) == ("east", 2)
    assert str(error) == "Tray 2 of east is empty."


def test_value_assigned_in_the_class_is_the_default():
    """A fact without a default must be given."""
    assert OutOfGlossyPaper("east").args == ("east", 1, "A4")
    assert facts_of(OutOfGlossyPaper) == ("printer", "tray", "size")


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "OutOfPaper needs printer"),
        (("east", 1, "A4"), {}, "OutOfPaper takes 2 facts, not 3"),
        (("east",), {"printer": "west"}, "OutOfPaper got 'printer' twice"),
        (("east",), {"trey": 2}, "OutOfPaper has no fact 'trey', but printer, tray"),
    ],
)
def test_wrong_facts_are_named(args, kwargs, problem):
    """An error that is made wrongly says which fact it was."""
    with pytest.raises(TypeError, match=problem):
        OutOfPaper(*args, **kwargs)


@pytest.mark.parametrize(
    "error",
    [OutOfGlossyPaper("east", size="A3"), OutOfMemory(signal=9), Timeout(2.5), WorkerLost()],
)
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_facts_survive_pickle_and_copy(error, again):
    """The other is of the same class, with the same facts and sentence."""
    other = again(error)
    assert type(other) is type(error)
    assert other.args == error.args
    assert str(other) == str(error)
    assert [getattr(other, name) for name in facts_of(error)] == list(error.args)


def test_other_facts_make_another_error():
    """The error itself, which somebody may have raised, stays as it is."""
    error = OutOfGlossyPaper("east", 2)
    other = with_facts(error, tray=3)
    assert (error.tray, other.tray) == (2, 3)
    assert type(other) is OutOfGlossyPaper
    assert error != with_facts(error)


def test_signature_shows_facts_with_their_types():
    """``help`` and editors show how the error is made."""
    shown = str(inspect.signature(OutOfGlossyPaper))
    assert shown.replace("'", "") == "(printer: str, tray: int = 1, size: str = A4)"


def test_facts_can_be_matched():
    """Facts are the positional patterns of their class."""
    match OutOfPaper("east", 2):
        case OutOfPaper(printer, tray):
            assert (printer, tray) == ("east", 2)
        case _:
            raise AssertionError
