"""Events: what a host reports of a call."""

from __future__ import annotations

import inspect
import pickle
import typing

import attrs
import pytest

from fal_core import events
from fal_core.errors import WorkerLost
from fal_core.events import (
    Credit,
    Event,
    Exited,
    HomeCall,
    Item,
    Log,
    Message,
    Outcome,
    Ready,
    Reply,
    Returned,
    Sealed,
    Started,
    State,
)
from fal_core_worker.opening import seals
from fal_core_worker.stream import frames

SEALED = Sealed(b"\x01\x00\x03\x0bN.")

ALL = [
    State("queued"),
    Log("line", partial=True),
    Item(SEALED, 3, 2),
    Started(3),
    Returned(4),
    Ready({"run": "http://127.0.0.1:1"}),
    HomeCall(1, SEALED),
    Outcome(SEALED, raised=True),
    Exited(1, None, WorkerLost(1)),
    Reply(1, SEALED),
    Credit(16),
]


def test_every_class_is_an_event_or_a_message() -> None:
    """The unions of what goes either way have all classes of the module."""
    classes = {
        each
        for each in vars(events).values()
        if inspect.isclass(each) and each.__module__ == events.__name__ and each is not Sealed
    }
    assert {*typing.get_args(Event), *typing.get_args(Message)} == classes
    assert {type(each) for each in ALL} == classes


@pytest.mark.parametrize("event", ALL, ids=lambda event: type(event).__name__)
def test_events_are_values(event: typing.Any) -> None:
    """Events cannot be changed, cross processes, and are shown with their fields."""
    name = attrs.fields(type(event))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(event, name, None)
    copy = pickle.loads(pickle.dumps(event))
    assert type(copy) is type(event)
    if not isinstance(event, Exited):
        # Errors are compared by identity.
        assert copy == event
    assert repr(event).startswith(f"{type(event).__name__}({name}=")


def test_sealed_objects_are_those_of_the_worker() -> None:
    """Both ends read the same prefix, and have the same levels of output."""
    for flags in (0, 1):
        data = bytes((1, flags, 3, 11))
        assert Sealed(data).contains_code == seals.Sealed(data).contains_code == bool(flags)
    assert set(frames.LEVELS) <= set(typing.get_args(events.Level))
