"""
Sizes on the disk that are kept, so that each is measured once: those of entries, and those of
the directories in caches of builders.
"""

from __future__ import annotations

import json
import os
import time

from fal_core.caches import cache_root, write_atomically
from fal_core.digests import digest
from fal_core.stores.disks import disk_usage
from fal_core.stores.places import SIZE

#: Seconds that a directory of a cache has not changed, after which it is taken for whole.
_SETTLED = 60.0


def entry_usage(path: str, *, last_used: float, in_use: bool) -> int:
    """
    Return how many bytes the entry at *path* takes on the disk.

    It is measured again after it was used: programs write bytecode when they run.

    Arguments:
        last_used: In seconds since the epoch.
    """
    if in_use:
        return disk_usage(path)
    file = os.path.join(path, SIZE)
    try:
        with open(file, "rb") as stream:
            if os.fstat(stream.fileno()).st_mtime > last_used:
                return int(stream.read())
    except (OSError, ValueError):
        pass  # It was not measured yet.
    size = disk_usage(path)
    try:
        write_atomically(file, str(size), durable=False)
    except OSError:
        pass  # It is being removed, or the cache is read-only.
    return size


def children_usage(path: str) -> int:
    """
    Return how many bytes the files below *path* take on the disk.

    The directories in it are those of a cache: once they are there, they do not change.
    """
    file = os.path.join(cache_root(), "sizes", f"{digest(os.fsencode(path))}.json")
    known = _read(file)
    found: dict[str, tuple[int, int]] = {}
    total = 0
    try:
        children = list(os.scandir(path))
    except FileNotFoundError:
        return 0
    for child in children:
        try:
            status = child.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # It has just been removed.
        if not child.is_dir(follow_symlinks=False):
            total += status.st_blocks * 512
            continue
        changed, size = known.get(child.name, (0, 0))
        if changed != status.st_mtime_ns:
            size = disk_usage(child.path)
        if time.time() - status.st_mtime > _SETTLED:
            found[child.name] = (status.st_mtime_ns, size)
        total += size
    if found != known:
        _write(file, found)
    return total


def _read(file: str) -> dict[str, tuple[int, int]]:
    try:
        with open(file, encoding="utf-8") as stream:
            loaded = json.load(stream)
        return {name: (int(changed), int(size)) for name, (changed, size) in loaded.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(file: str, sizes: dict[str, tuple[int, int]]) -> None:
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        write_atomically(file, json.dumps(sizes), durable=False)
    except OSError:
        pass  # They are measured again.
