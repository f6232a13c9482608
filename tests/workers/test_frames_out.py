"""Calls as frames: a worker is sent each source and function once."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call, Node, SealedFunction, SourceArchive
from fal_core.events import Sealed
from fal_core.workers.frames_out import FUNCTION_SLOTS, CallSender
from fal_core_worker.nodes import unpack_node
from fal_core_worker.stream import frames
from fal_core_worker.stream.streams import FrameStream
from fal_testing import InProcessHost


class Sent:
    """A sender, and what the worker at the other end of its stream has been sent."""

    def __init__(self) -> None:
        (back, there), (here, forth) = os.pipe(), os.pipe()
        self.stream, self.other = FrameStream(here, there), FrameStream(back, forth)
        self.sender = CallSender(self.stream)
        launcher = function("current", host=InProcessHost())(os.getpid).make_launcher()
        self._call = launcher.call(((), {}))

    def call(self, name: str, **changes: Any) -> Call:
        """Make a call of a function with this name as its digest."""
        return attrs.evolve(self._call, function=sealed(name), **changes)

    def send(self, call: Call, channel: int = 1) -> list[Any]:
        """Send *call*, and return the frames that have come."""
        self.sender.send(channel, call)
        received: list[Any] = []
        while not received or received[-1][0] != frames.CALL:
            received += self.other.read() or ()
        return received


def sealed(name: str) -> SealedFunction:
    return SealedFunction(digest=name, native=Sealed(name.encode()), refusal="no source")


def test_the_node_of_a_call_comes_before_it() -> None:
    """A call of several nodes comes after its node, and any other without one."""
    sent, node = Sent(), Node(1, ("one", "two"))
    sent.send(sent.call("f"))
    told, called = sent.send(sent.call("f").at_node(node), channel=2)
    assert (told[:2], called[:2]) == ((frames.NODE, 2), (frames.CALL, 2))
    assert unpack_node(told[4]) == node
    assert [kind for kind, *_ in sent.send(sent.call("f"), channel=3)] == [frames.CALL]


def kinds(received: list[Any]) -> list[tuple[int, int]]:
    """Return the kinds of frames, each with its slot."""
    return [(kind, a) for kind, _, a, _, _ in received]


@pytest.fixture
def sent() -> Iterator[Sent]:
    sent = Sent()
    yield sent
    sent.stream.close()
    sent.other.close()


def test_a_function_is_sent_before_its_first_call_alone(sent: Sent) -> None:
    """Later calls name the slot of their function."""
    first = sent.send(sent.call("one"))
    assert kinds(first) == [(frames.FUNCTION, 0), (frames.CALL, 0)]
    assert marshal.loads(first[0][4]) == ("one", b"one", None, "no source", None)
    assert kinds(sent.send(sent.call("two"))) == [(frames.FUNCTION, 1), (frames.CALL, 1)]
    for name, slot in (("one", 0), ("two", 1)):
        assert kinds(sent.send(sent.call(name))) == [(frames.CALL, slot)]


def test_a_call_says_how_many_results_it_has(sent: Sent) -> None:
    """The frame of a call has its channel, its arguments, and what it gives."""
    arguments = Sealed(b"data", [b"buffer"])
    for changes, count in (({}, 0), ({"batch": 3}, 3), ({"stream": True}, frames.STREAM)):
        call = sent.call("one", arguments=arguments, **changes)
        *_, (kind, channel, slot, told, (data, buffers)) = sent.send(call, 7)
        assert (kind, channel, slot, told) == (frames.CALL, 7, 0, count)
        assert (data, [bytes(each) for each in buffers]) == (b"data", [b"buffer"])


def test_a_function_with_another_setup_is_another_one(sent: Sent) -> None:
    """A worker keeps a function for each setup that it is called with, and for none."""
    for setup, slot in ((None, 0), (sealed("s"), 1), (sealed("t"), 2)):
        call = sent.call("one", setup=setup)
        received = sent.send(call)
        assert kinds(received) == [(frames.FUNCTION, slot), (frames.CALL, slot)]
        assert (marshal.loads(received[0][4])[4] is None) == (setup is None)
        assert kinds(sent.send(call)) == [(frames.CALL, slot)]


def test_a_source_is_sent_once_whichever_function_needs_it(sent: Sent) -> None:
    """Each archive is sent before the first function that needs it."""
    archive, other = SourceArchive("a" * 40, b"zip"), SourceArchive("b" * 40, b"more")
    received = sent.send(sent.call("one", sources=(archive,)))
    assert kinds(received) == [(frames.SOURCES, 0), (frames.FUNCTION, 0), (frames.CALL, 0)]
    assert received[0][4] == b"a" * 40 + b" " * 24 + b"zip"
    assert kinds(sent.send(sent.call("one", sources=(archive,)))) == [(frames.CALL, 0)]
    received = sent.send(sent.call("two", sources=(archive, other)))
    assert [frame[0] for frame in received] == [frames.SOURCES, frames.FUNCTION, frames.CALL]
    # A function that is there may need another one since.
    received = sent.send(sent.call("one", sources=(archive, SourceArchive("c", b"new"))))
    assert kinds(received) == [(frames.SOURCES, 0), (frames.CALL, 0)]


def test_the_slot_of_the_function_that_came_first_is_taken(sent: Sent) -> None:
    """
    A worker keeps so many functions; one more takes the slot of the oldest, which is sent
    again when it is called again.
    """
    for number in range(FUNCTION_SLOTS):
        sent.send(sent.call(str(number)))
    assert kinds(sent.send(sent.call("one more"))) == [(frames.FUNCTION, 0), (frames.CALL, 0)]
    assert kinds(sent.send(sent.call("1"))) == [(frames.CALL, 1)]
    assert kinds(sent.send(sent.call("0"))) == [(frames.FUNCTION, 1), (frames.CALL, 1)]
    assert kinds(sent.send(sent.call("2"))) == [(frames.CALL, 2)]


def test_a_worker_that_is_gone_is_an_error(sent: Sent) -> None:
    """Sending to nobody is an OSError, and to a stream that was closed a ValueError."""
    sent.other.close()
    with pytest.raises(OSError, match="Broken pipe"):
        sent.sender.send(1, sent.call("one"))
    sent.stream.close()
    with pytest.raises((OSError, ValueError)):
        sent.sender.send(1, sent.call("two"))
