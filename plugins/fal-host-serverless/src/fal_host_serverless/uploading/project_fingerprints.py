"""
Fingerprints of projects, made without reading their files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fal_core.digests import digest

#: Folders inside a project that hold no sources.
_NO_SOURCES = frozenset({".git", ".hg", ".svn", ".nox", ".tox", "__pycache__", "node_modules"})
#: Suffixes of what builds leave among the sources.
_LEFT = (".egg-info", ".pyc")
#: Files that mark a folder as a cache or a virtual environment.
_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")


def fingerprint(folder: Path) -> str:
    """
    Return a digest that changes whenever a file of the project in *folder* does.

    It covers sizes, modes and times of files. The files of the repository that hold
    commit and tags count too, since versions are derived from them.
    """
    states = [
        (path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path, status in (*_files(os.fspath(folder), set()), *_history(folder))
    ]
    return digest(repr(sorted(states)).encode(), 32)


def _files(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """
    Yield each file under *folder*; links are followed.
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
            continue  # A dangling link.
        place = (status.st_dev, status.st_ino)
        if place not in seen:
            seen.add(place)
            yield from _files(entry.path, seen)


def _history(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """
    Yield the files that change with commit and tags of the repository around *folder*.
    """
    for parent in (folder, *folder.parents):
        own = parent / ".git"
        if own.is_file():
            # A worktree or a submodule has its repository elsewhere.
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
