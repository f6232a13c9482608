"""Outcomes: how results, items and exceptions are sent."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest

from fal_core.errors import FalSerializationError
from fal_core.sealing.opener import Opener
from fal_core_worker.opening import values
from fal_core_worker.opening.pickling import BUFFER_SIZE
from fal_core_worker.opening.seals import Sealed
from fal_core_worker.running.outcomes import send_error, send_item, send_items, send_value
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import RAISED, SEALED, VALUE
from fal_core_worker.stream.streams import FrameStream


def work() -> None:
    """Stand for the function whose outcomes are sent."""


class Ends:
    """The worker's end of a stream, and what has come at the other."""

    def __init__(self) -> None:
        (back, there), (here, forth) = os.pipe(), os.pipe()
        self.stream, self.other = FrameStream(here, there), FrameStream(back, forth)
        self.opener = Opener(name="work")

    def take(self) -> tuple[tuple[int, ...], Sealed]:
        """Return the head of the only frame that has come, and what is sealed in it."""
        received: list[Any] = []
        while not received:
            received = self.other.read() or []
        ((*head, payload),) = received
        sealed = Sealed(*payload) if isinstance(payload, tuple) else Sealed(payload)
        return tuple(head), sealed


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.stream.close()
    ends.other.close()


def test_a_result_says_whether_its_worker_goes_on(ends: Ends) -> None:
    """The outcome has the value, and whether the worker takes another call."""
    for after in (0, frames.REPLACE):
        send_value(ends.stream, 3, {"a": 1}, work, after)
        head, sealed = ends.take()
        assert head == (frames.OUTCOME, 3, frames.ENDED_WELL, after)
        assert ends.opener.open_value(sealed) == {"a": 1}


def test_a_result_that_cannot_travel_is_an_error(ends: Ends) -> None:
    """What the caller is sent in its place says so, with the name of the function."""
    send_value(ends.stream, 3, threading.current_thread(), work, frames.REPLACE)
    head, sealed = ends.take()
    assert head == (frames.OUTCOME, 3, frames.ENDED_RAISED, frames.REPLACE)
    error = ends.opener.open_error(sealed)
    assert isinstance(error, FalSerializationError)
    assert "The result of 'work'" in str(error)


def test_an_exception_is_sent_as_an_outcome(ends: Ends) -> None:
    """Whatever was raised arrives, exceptions that end a program among it."""
    send_error(ends.stream, 3, SystemExit(4), work)
    head, sealed = ends.take()
    assert head == (frames.OUTCOME, 3, frames.ENDED_RAISED, 0)
    error = ends.opener.open_error(sealed)
    assert isinstance(error.__cause__, SystemExit)
    assert error.__cause__.code == 4


def test_an_item_of_a_stream_has_its_place(ends: Ends) -> None:
    """Each item is sent with its number; one that cannot travel is an error of the generator."""
    send_item(ends.stream, 3, bytearray(b"data"), 7, work)
    head, sealed = ends.take()
    assert head == (frames.ITEM, 3, 7, 1)
    assert ends.opener.open_value(sealed) == b"data"
    with pytest.raises(Exception, match="The result of 'work'"):
        send_item(ends.stream, 3, threading.current_thread(), 8, work)


def open_items(sealed: Sealed) -> list[tuple[int, Any]]:
    pairs: list[tuple[int, Any]] = Opener(name="work").open_value(sealed)
    return pairs


def test_items_of_a_batch_are_sealed_together(ends: Ends) -> None:
    """Several outcomes are one frame, from the first on; no outcomes are none."""
    send_items(ends.stream, 3, [], 0, work)
    error = values.seal_error(LookupError("gone"), work).data
    send_items(ends.stream, 3, [(VALUE, 1), (RAISED, error), (VALUE, "x")], 4, work)
    head, sealed = ends.take()
    assert head == (frames.ITEM, 3, 4, 3)
    assert open_items(sealed) == [(VALUE, 1), (RAISED, error), (VALUE, "x")]


@pytest.mark.parametrize("odd", [threading.current_thread(), lambda: 5], ids=["thread", "code"])
def test_an_item_that_cannot_travel_leaves_the_others(ends: Ends, odd: Any) -> None:
    """If one item cannot be sealed, or the caller may have to refuse it, each is sealed apart."""
    raised = (RAISED, values.seal_error(LookupError("gone"), work).data)
    send_items(ends.stream, 3, [(VALUE, [1]), (VALUE, odd), raised], 0, work)
    head, sealed = ends.take()
    assert head == (frames.ITEM, 3, 0, 3)
    assert not sealed.contains_code
    (first, data), (kind, other), last = open_items(sealed)
    assert first == SEALED
    assert ends.opener.open_value(Sealed(*data)) == [1]
    assert last == raised
    if callable(odd):
        assert kind == SEALED
        assert ends.opener.open_value(Sealed(*other))() == 5
    else:
        assert kind == RAISED
        assert isinstance(ends.opener.open_error(Sealed(other)), FalSerializationError)


def test_buffers_of_items_that_are_sealed_apart_go_along(ends: Ends) -> None:
    """An item with buffers is whole, though another one has it sealed by itself."""
    large = os.urandom(BUFFER_SIZE)
    # A path is no built-in value, so that the pickler is asked for buffers.
    value = pickle.PickleBuffer(large), PurePosixPath("a")
    sending = threading.Thread(
        target=send_items,
        args=(ends.stream, 3, [(VALUE, value), (VALUE, threading.current_thread())], 0, work),
    )
    sending.start()
    _, sealed = ends.take()
    sending.join(30)
    (kind, (data, buffers)), _ = open_items(sealed)
    assert kind == SEALED
    assert buffers == [large]
    opened, path = ends.opener.open_value(Sealed(data, buffers))
    assert (bytes(opened), path) == (large, PurePosixPath("a"))
