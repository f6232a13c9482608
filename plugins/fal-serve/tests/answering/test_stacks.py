"""Stacks of threads, as text for people."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from fal_serve import App, catch_gpu_exceptions
from fal_serve.answering.stacks import (
    find_class_location,
    format_frames,
    frames_of,
    function_name,
    is_user_frame,
    other_threads,
    skip_to_user_frame,
)


class Waiting:
    """A thread that waits in the user's code."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def outer(self) -> None:
        self.inner()

    def inner(self) -> None:
        self.begun.set()
        self.over.wait()


@contextmanager
def waiting() -> Iterator[threading.Thread]:
    """Have a thread wait in :meth:`Waiting.inner`."""
    waits = Waiting()
    thread = threading.Thread(target=waits.outer, name="busy")
    thread.start()
    waits.begun.wait()
    try:
        yield thread
    finally:
        waits.over.set()
        thread.join()


def names(frames: list[FrameType]) -> list[str]:
    """Return the names of the functions of *frames*."""
    return [frame.f_code.co_name for frame in frames]


def test_stack_of_a_thread_begins_at_its_outermost_frame():
    """A thread is named after the user's outermost function, though it waits in the library."""
    with waiting() as thread:
        frames = frames_of(thread.ident or 0)
        assert [name for name in names(frames) if name in ("outer", "inner")] == [
            "outer",
            "inner",
        ]
        assert not is_user_frame(frames[0])
        assert function_name(frames).endswith("outer")
        text = format_frames(frames)
    assert text.index("in outer\n    self.inner()") < text.index("in inner\n")


def test_thread_that_has_ended_has_no_frames():
    """An unknown thread is no error."""
    assert frames_of(-1) == []


def test_threads_of_the_user_are_found():
    """Threads that are left out, and those without any of the user's code, are not among them."""
    idle = threading.Event()
    with waiting() as thread:
        library = threading.Thread(target=idle.wait, name="library")
        library.start()
        try:
            found = dict(other_threads())
            assert "inner" in names(found["busy"])
            assert "library" not in found
            assert "busy" not in dict(other_threads(thread.ident or 0))
        finally:
            idle.set()
            library.join()


def test_traceback_begins_in_the_users_code():
    """Frames of fal_serve and of libraries before the user's are left out."""

    @catch_gpu_exceptions()
    def fail() -> None:
        json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught:
        fail()
    assert caught.value.__traceback__ is not None
    whole = caught.value.__traceback__.tb_next
    assert whole is not None
    assert whole.tb_frame.f_code.co_name == "wrapper"
    shown = skip_to_user_frame(whole)
    assert shown is not None
    assert shown.tb_frame.f_code.co_name == "fail"


def test_traceback_without_the_users_code_is_whole():
    """An error in a library alone shows all of its frames."""
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert caught.value.__traceback__ is not None
    library = caught.value.__traceback__.tb_next
    assert skip_to_user_frame(library) is library
    assert skip_to_user_frame(None) is None


def test_class_is_located_where_it_is_written():
    """The place of a class is the line of its statement, whatever runs in its definition."""

    class Located:
        place = ""

        def __init_subclass__(cls) -> None:
            cls.place = find_class_location()

    line = sys._getframe().f_lineno + 2

    class Here(Located): ...

    assert Here.place == f"{__file__}:{line}"
    space = {"Located": Located}
    exec("class There(Located): ...", space)
    assert space["There"].place == ""
    assert App._place == ""
