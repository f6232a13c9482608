"""
Trees: how the files of a project look, without reading them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fal_core.digests import digest

#: Folders that are beside the sources of a project without being any.
_NO_SOURCES = frozenset({".git", ".hg", ".svn", ".nox", ".tox", "__pycache__", "node_modules"})
#: What builds leave among the sources.
_LEFT = (".egg-info", ".pyc")
#: Files that mark a folder as one of caches, or of a virtual environment.
_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")


def fingerprint(folder: Path) -> str:
    """
    Return what changes whenever a file of the project in *folder* does.

    Files are told by their sizes, modes and times. Those of the repository that say
    which commit and tags there are count too: versions are made of them.
    """
    looks = [
        (path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path, status in (*_files(os.fspath(folder), set()), *_history(folder))
    ]
    return digest(repr(sorted(looks)).encode(), 32)


def _files(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """
    Yield each file under *folder*, links followed.
    """
    with os.scandir(folder) as entries:
        found = list(entries)
    if any(entry.name in _MARKS for entry in found):
        return
    for entry in found:
        if entry.name in _NO_SOURCES or entry.name.endswith(_LEFT):
            continue
        try:
            status = entry.stat()
            if not entry.is_dir():
                yield entry.path, status
                continue
        except OSError:
            continue  # A link to nothing.
        place = (status.st_dev, status.st_ino)
        if place not in seen:
            seen.add(place)
            yield from _files(entry.path, seen)


def _history(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """
    Yield what changes with the commit and the tags of the repository *folder* is in.
    """
    for parent in (folder, *folder.parents):
        own = parent / ".git"
        if own.is_file():
            # That of a worktree, or of a submodule, is elsewhere.
            own = parent / own.read_text("utf-8").partition(":")[2].strip()
        if not own.is_dir():
            continue
        shared = own / "commondir"
        common = own / shared.read_text("utf-8").strip() if shared.is_file() else own
        for path in (
            own / "HEAD",
            own / "logs/HEAD",
            common / "packed-refs",
            common / "refs/tags",
        ):
            if path.exists():
                yield os.fspath(path), path.stat()
        return
