"""The event thread: it reads sources, and runs actions when they are due."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fal_core.sinks.event_thread import EventThread, get_event_thread
from fal_testing.harness.processes import wait_until

#: Seconds that the thread has for what it is asked.
PATIENCE = 30


class Pipe:
    """A source that keeps what it reads."""

    def __init__(self, read: Callable[[bytes], None] = lambda data: None) -> None:
        self.reader, self.writer = os.pipe()
        self.got = b""
        self._read = read

    def fileno(self) -> int:
        return self.reader

    def read_ready(self) -> bool:
        data = os.read(self.reader, 100)
        self.got += data
        self._read(data)
        return bool(data)

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            try:
                os.close(descriptor)
            except OSError:
                pass


@pytest.fixture
def pipes() -> Iterator[Callable[..., Pipe]]:
    made: list[Pipe] = []

    def make(*arguments: Any) -> Pipe:
        made.append(Pipe(*arguments))
        return made[-1]

    yield make
    for pipe in made:
        get_event_thread().unfollow(pipe)
        pipe.close()


def settle(thread: EventThread) -> None:
    """Wait until *thread* has read what was there, and run what was due."""
    done = threading.Event()
    thread.after(0, done.set)
    assert done.wait(PATIENCE)


@contextmanager
def reported() -> Iterator[list[str]]:
    """Collect the exceptions that are reported of threads."""
    raised: list[str] = []
    # Not in a fixture: while a test runs, pytest may have a hook of its own.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda args: raised.append(repr(args.exc_value)))
        yield raised


def test_sources_are_read_until_they_end(pipes: Callable[..., Pipe]) -> None:
    """What comes is read on the event thread, up to the end of the source."""
    thread = get_event_thread()
    where: list[bool] = []
    one, two = (pipes(lambda _: where.append(thread.is_current_thread())) for _ in range(2))
    thread.follow(one)
    thread.follow(two)
    os.write(one.writer, b"one")
    os.write(two.writer, b"two")
    assert wait_until(lambda: (one.got, two.got) == (b"one", b"two"), PATIENCE)
    os.close(one.writer)
    assert wait_until(lambda: len(where) >= 3, PATIENCE)
    settle(thread)
    assert len(where) == 3
    assert all(where)
    assert not thread.is_current_thread()
    os.write(two.writer, b"!")
    assert wait_until(lambda: two.got == b"two!", PATIENCE)


def test_a_source_that_is_not_followed_is_not_read(pipes: Callable[..., Pipe]) -> None:
    """Once it is unfollowed nothing is read, which may be asked again, and of a closed one."""
    thread, pipe = get_event_thread(), pipes()
    thread.follow(pipe)
    thread.unfollow(pipe)
    os.write(pipe.writer, b"data")
    settle(thread)
    assert pipe.got == b""
    thread.unfollow(pipe)
    pipe.close()
    thread.unfollow(pipe)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LookupError("broken"), "LookupError('broken')"),
        (SystemExit(3), "RuntimeError('SystemExit does not end this thread.')"),
    ],
)
def test_a_source_that_fails_is_reported_and_left(
    pipes: Callable[..., Pipe], error: BaseException, said: str
) -> None:
    """What one source raises is reported, whatever it is, and the others are read on."""

    def fail(data: bytes) -> None:
        raise error

    thread, broken, other = get_event_thread(), pipes(fail), pipes()
    with reported() as failures:
        for pipe in (broken, other):
            thread.follow(pipe)
            os.write(pipe.writer, b"one")
        assert wait_until(lambda: other.got == b"one", PATIENCE)
        os.write(broken.writer, b"two")
        os.write(other.writer, b"two")
        assert wait_until(lambda: other.got == b"onetwo", PATIENCE)
        settle(thread)
    assert broken.got == b"one"
    assert failures == [said]


def test_an_action_that_exits_ends_no_thread() -> None:
    """Actions that are due later run, though one before them raised ``SystemExit``."""
    thread, ran = get_event_thread(), threading.Event()
    with reported() as failures:
        thread.after(0, sys.exit)
        thread.after(0, ran.set)
        assert ran.wait(PATIENCE)
    assert failures == ["RuntimeError('SystemExit does not end this thread.')"]


def test_actions_run_in_the_order_in_which_they_are_due() -> None:
    """An action that is due earlier runs earlier, and one that fails keeps no other waiting."""
    thread = get_event_thread()
    ran: list[str] = []
    done = threading.Event()

    def fail() -> None:
        raise LookupError("action")

    # They are all given before any of them can run.
    given = threading.Event()
    thread.after(0, lambda: ran.append(f"given {given.wait(PATIENCE)}"))
    thread.after(0.03, done.set)
    thread.after(0.02, lambda: ran.append("second"))
    thread.after(0.01, lambda: ran.append("first"))
    thread.after(0.015, fail)
    with reported() as failures:
        given.set()
        assert done.wait(PATIENCE)
    assert ran == ["given True", "first", "second"]
    assert failures == ["LookupError('action')"]


def test_an_action_is_not_late_for_one_that_was_given_before() -> None:
    """The thread wakes for an action that is due before all that it waits for."""
    thread = get_event_thread()
    later = thread.after(3600, lambda: None)
    settle(thread)
    thread.forget(later)


def test_a_forgotten_action_does_not_run() -> None:
    """A timer can be forgotten until it has run, and again after that."""
    thread = get_event_thread()
    ran: list[str] = []
    ready = threading.Event()

    def hold() -> None:
        # The thread runs nothing else until both are there.
        ready.wait(PATIENCE)

    held = thread.after(0, hold)
    forgotten = thread.after(0.01, lambda: ran.append("forgotten"))
    thread.forget(forgotten)
    kept = thread.after(0.02, lambda: ran.append("kept"))
    ready.set()
    assert wait_until(lambda: bool(ran), PATIENCE)
    assert ran == ["kept"]
    for timer in (held, forgotten, kept):
        thread.forget(timer)


def test_forgotten_timers_are_not_kept() -> None:
    """Deadlines of calls that have ended long before take no memory."""
    thread = get_event_thread()
    kept = thread.after(3600, lambda: None)
    for _ in range(2000):
        thread.forget(thread.after(3600, lambda: None))
    assert len(thread._due) < 500
    assert kept in thread._due
    thread.forget(kept)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own(pipes: Callable[..., Pipe]) -> None:
    """The thread of the parent does not run in a child, which starts one when it needs it."""
    thread = get_event_thread()
    settle(thread)
    pipe = pipes()
    child = os.fork()
    if not child:
        try:
            mine = get_event_thread()
            settle(mine)
            os._exit(0 if mine is not thread else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.follow(pipe)
    os.write(pipe.writer, b"still here")
    assert wait_until(lambda: pipe.got == b"still here", PATIENCE)
