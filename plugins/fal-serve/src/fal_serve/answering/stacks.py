"""Stacks of threads, as text for people."""

from __future__ import annotations

import functools
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

_OURS = ("fal_serve", "fal_core_worker", "uvloop")


def package_of(frame: FrameType) -> str:
    """Return the package whose code *frame* runs, wherever its files are."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def is_user_frame(frame: FrameType) -> bool:
    """Tell whether *frame* runs the user's own code, not that of a package or of Python."""
    name = frame.f_code.co_filename
    if name.startswith(("<", *_installed())) or "site-packages" in name:
        return False
    return package_of(frame) not in _OURS


@functools.cache
def _installed() -> tuple[str, ...]:
    # Imported when it is needed: it reads the build configuration of Python.
    import sysconfig

    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(sysconfig.get_path(name) + os.sep for name in names)


def find_class_location() -> str:
    """Return the file and line of the class that is being defined; empty if unknown."""
    frame: FrameType | None = sys._getframe(1)
    hooks = ("__init_subclass__", "__new__", "__init__", "__call__")
    while frame is not None and (
        package_of(frame) == "fal_serve" or frame.f_code.co_name in hooks
    ):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith("<"):
        return ""
    return f"{os.path.abspath(frame.f_code.co_filename)}:{frame.f_lineno}"


def skip_to_user_frame(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* from the user's first frame on, or all of it if there is none."""
    found = trace
    while found is not None and not is_user_frame(found.tb_frame):
        found = found.tb_next
    return found or trace


def frames_of(ident: int) -> list[FrameType]:
    """Return the frames of a thread, outermost first."""
    frames = []
    frame = sys._current_frames().get(ident)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def format_frames(frames: list[FrameType]) -> str:
    """Return *frames* as a traceback shows them."""
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format())


def function_name(frames: list[FrameType]) -> str:
    """Return the name of the user's outermost function in *frames*, or of the innermost frame."""
    users = [frame for frame in frames if is_user_frame(frame)]
    frame = users[0] if users else frames[-1]
    return getattr(frame.f_code, "co_qualname", frame.f_code.co_name)


def other_threads(*idents: int) -> Iterator[tuple[str, list[FrameType]]]:
    """Yield the names and frames of the threads, except *idents*, that run the user's code."""
    for thread in threading.enumerate():
        if thread.ident is None or thread.ident in idents:
            continue
        frames = frames_of(thread.ident)
        if any(is_user_frame(frame) for frame in frames):
            yield thread.name, frames
