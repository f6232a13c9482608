"""
Stacks: where a thread is, told to people.
"""

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
    """
    Return the package whose code *frame* runs, wherever its files are.
    """
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def is_users(frame: FrameType) -> bool:
    """
    Tell whether *frame* runs the user's own code, and not a package's or Python's.
    """
    name = frame.f_code.co_filename
    if name.startswith(("<", *_installed())) or "site-packages" in name:
        return False
    return package_of(frame) not in _OURS


@functools.cache
def _installed() -> tuple[str, ...]:
    # Imported for a stack that is told: it reads all that Python was built with.
    import sysconfig

    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(sysconfig.get_path(name) + os.sep for name in names)


def place_of_class() -> str:
    """
    Return the file and the line of the class that is being made; empty if nobody knows.
    """
    frame: FrameType | None = sys._getframe(1)
    hooks = ("__init_subclass__", "__new__", "__init__", "__call__")
    while frame is not None and (
        package_of(frame) == "fal_serve" or frame.f_code.co_name in hooks
    ):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith("<"):
        return ""
    return f"{os.path.abspath(frame.f_code.co_filename)}:{frame.f_lineno}"


def of_user(trace: TracebackType | None) -> TracebackType | None:
    """
    Return *trace* from the user's first frame on; all of it where there is none.
    """
    found = trace
    while found is not None and not is_users(found.tb_frame):
        found = found.tb_next
    return found or trace


def frames_of(ident: int) -> list[FrameType]:
    """
    Return the frames of a thread, the outermost first.
    """
    frames = []
    frame = sys._current_frames().get(ident)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def describe(frames: list[FrameType]) -> str:
    """
    Return *frames* as a traceback shows them.
    """
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format())


def name_of(frames: list[FrameType]) -> str:
    """
    Return the function of the user's that *frames* are in, or else the innermost.
    """
    users = [frame for frame in frames if is_users(frame)]
    frame = users[0] if users else frames[-1]
    return getattr(frame.f_code, "co_qualname", frame.f_code.co_name)


def other_threads(*idents: int) -> Iterator[tuple[str, list[FrameType]]]:
    """
    Yield the names and frames of threads that run code of the user's, but for *idents*.
    """
    for thread in threading.enumerate():
        if thread.ident is None or thread.ident in idents:
            continue
        frames = frames_of(thread.ident)
        if any(is_users(frame) for frame in frames):
            yield thread.name, frames
