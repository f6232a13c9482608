"""
uv's cache, and its leftovers: temporary directories in which a killed uv was building projects.

uv removes them when it ends by itself, and has no command that removes them later.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
from collections.abc import Iterator

import attrs

from fal_core.stores import (
    Category,
    Store,
    StoredEntry,
    children_usage,
    command_lines,
    disk_usage,
    is_visible,
    process_ids,
    read_process,
)

#: Seconds after which a temporary directory that nothing has changed is a leftover.
OLD = 3600.0

_BUILDS = "builds-v[0-9]*"
_BUILD = rb"/[^\0:;\n]*?/builds-v\d+/\.tmp[^/\0:;\n]+"


def uv_cache() -> str:
    """Return the directory of uv's cache; uv's configuration files are not read."""
    usual = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("UV_CACHE_DIR") or os.path.join(usual, "uv")


@attrs.frozen(kw_only=True)
class UvCache(Store):
    """uv's cache, which other programs use too: only leftovers are removed."""

    kind: str = "uv"
    category: Category = "caches"
    is_shared: bool = True

    def entries(self) -> list[StoredEntry]:
        path = uv_cache()
        try:
            changed = [entry.stat().st_mtime for entry in os.scandir(path)]
            created = os.stat(path).st_mtime
        except FileNotFoundError:
            return []
        return [
            StoredEntry(
                kind=self.kind,
                key="uv",
                path=path,
                size=_usage(path),
                created=created,
                last_used=max(changed, default=created),
                in_use=_is_uv_running(),
                summary="the cache of uv, which 'uv cache prune' cleans",
            )
        ]

    def remove(self, entry: StoredEntry) -> bool:
        return False

    def leftovers(self, *, dry_run: bool) -> int:
        freed = 0
        for path in old_builds():
            freed += disk_usage(path)
            if not dry_run:
                remove(path)
        return freed


def builds_of_session(session: int) -> set[str]:
    """
    Return the temporary directories that the processes of *session* mention.

    They are found in command lines and variables, which name each that is not empty.
    """
    found: set[str] = set()
    for process in process_ids():
        try:
            if os.getsid(process) != session:
                continue
        except OSError:
            continue  # It has ended.
        for name in ("cmdline", "environ"):
            found.update(map(os.fsdecode, re.findall(_BUILD, read_process(process, name))))
    return found


def builds_since(began: float) -> set[str]:
    """
    Return the temporary directories changed since *began*, unless some uv is running.

    There are none if the system does not show its processes.
    """
    return {path for path, changed in _leftovers() if changed >= began - 0.1}


def old_builds() -> list[str]:
    """
    Return the temporary directories that have not changed for an hour, unless uv is running.

    There are none if the system does not show its processes.
    """
    before = time.time() - OLD
    return sorted(path for path, changed in _leftovers() if changed < before)


def remove(path: str) -> None:
    """Remove the temporary directory at *path*."""
    shutil.rmtree(path, ignore_errors=True)


def _leftovers() -> list[tuple[str, float]]:
    """Return the temporary directories whose uv has ended, with the times of their last change."""
    # In this order: a uv that is started now has none of these directories.
    found = list(_builds())
    return [] if not is_visible() or _is_uv_running() else found


def _builds() -> Iterator[tuple[str, float]]:
    for path in glob.iglob(os.path.join(glob.escape(uv_cache()), _BUILDS, ".tmp*")):
        try:
            yield path, os.stat(path).st_mtime
        except OSError:
            pass  # uv has removed it.


def _usage(path: str) -> int:
    """Return the bytes of the cache at *path*; unpacked wheels do not change, and are many."""
    return sum(
        children_usage(each.path)
        if each.name.startswith("archive-v")
        else disk_usage(each.path)
        for each in os.scandir(path)
    )


def _is_uv_running() -> bool:
    programs = (command.partition(b"\0")[0] for command in command_lines())
    return any(os.path.basename(program) in (b"uv", b"uvx") for program in programs)
