"""
What a uv that was ended leaves in its cache: the places where it built projects.

uv removes them where it ends of its own accord, and has no command that does it later.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator

#: Seconds after which a place that nobody removed is taken for left.
OLD = 3600.0

_BUCKET = re.compile(r"builds-v\d+")
_PLACE = re.compile(rb"/[^\0:;\n]*?/builds-v\d+/\.tmp[^/\0:;\n]+")


def uv_cache() -> str:
    """
    Return the directory of uv's cache, unless a configuration file names another.
    """
    usual = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("UV_CACHE_DIR") or os.path.join(usual, "uv")


def places_of(session: int) -> set[str]:
    """
    Return the places that the processes of *session* name: those with anything in them.
    """
    found: set[str] = set()
    for number in _processes():
        try:
            if os.getsid(number) == session:
                for name in ("cmdline", "environ"):
                    with open(f"/proc/{number}/{name}", "rb") as stream:
                        found.update(map(os.fsdecode, _PLACE.findall(stream.read())))
        except OSError:
            pass  # It has ended.
    return found


def places_since(began: float) -> set[str]:
    """
    Return the places that were made since *began*, if no uv runs whose they may be.

    Where the system does not tell what runs there are none.
    """
    return {path for path, made in _left() if made >= began - 0.1}


def old_places() -> list[str]:
    """
    Return the places that are left: no uv runs, and none has touched them for long.
    """
    before = time.time() - OLD
    return sorted(path for path, made in _left() if made < before)


def remove(path: str) -> None:
    """
    Remove the place at *path*.
    """
    shutil.rmtree(path, ignore_errors=True)


def _left() -> list[tuple[str, float]]:
    """
    Return the places whose uv has ended, with the time when each was touched last.
    """
    # In this order: those of a uv that is started now are not among them.
    places = list(_places())
    return [] if not os.path.isdir("/proc/self") or _is_uv_running() else places


def _places() -> Iterator[tuple[str, float]]:
    root = uv_cache()
    for bucket in _names(root):
        if not _BUCKET.fullmatch(bucket):
            continue
        for name in _names(os.path.join(root, bucket)):
            path = os.path.join(root, bucket, name)
            try:
                if name.startswith(".tmp"):
                    yield path, os.stat(path).st_mtime
            except OSError:
                pass  # uv has removed it.


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _processes() -> list[int]:
    return [int(name) for name in _names("/proc") if name.isdigit()]


def _is_uv_running() -> bool:
    for number in _processes():
        try:
            with open(f"/proc/{number}/cmdline", "rb") as stream:
                program = stream.read().partition(b"\0")[0]
        except OSError:
            continue
        if os.path.basename(program) in (b"uv", b"uvx"):
            return True
    return False
