"""
The contents of local requirements: when they change, an environment is built again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from fal_core import digests
from fal_env_virtualenv.requirements.entries import Requirement

#: Directories of a project that hold no sources.
_NO_SOURCES = ("__pycache__", "node_modules")
_NO_SOURCES_AT_TOP = ("build", "dist", "target", "venv", "env")
#: Files that say how an editable project is installed; its sources are read in place.
_METADATA = (".toml", ".cfg", "setup.py", ".txt")
#: Files that a process reads once: it takes a new process to see them changed.
_PROGRAM = (".py", ".so", "pyproject.toml", "setup.cfg")

_digests: dict[str, tuple[tuple[int, int, int], str]] = {}


def digest(requirement: Requirement) -> str:
    """
    Return a digest of the file or project that the local *requirement* refers to.

    For an editable project it covers what says how the project is installed, and not
    its sources.
    """
    path = requirement.path
    assert path is not None
    if requirement.form == "editable":
        return _directory_digest(path, _metadata_files(path))
    if os.path.isdir(path):
        return _directory_digest(path, _source_files(path))
    return file_digest(path)


def stamps(requirements: Iterable[Requirement]) -> Iterator[tuple[str, int, int, int]]:
    """
    Yield name, time of the last change, size and inode of each program file.

    Program files are the files of local *requirements* that a process imports or is
    installed by; data files that a function writes beside its sources do not count.
    """
    for requirement in requirements:
        path = requirement.path
        assert path is not None
        names: Iterable[str] = ("",)
        if os.path.isdir(path):
            names = (name for name in _source_files(path) if name.endswith(_PROGRAM))
        for name in names:
            try:
                status = os.stat(os.path.join(path, name) if name else path)
            except OSError:
                continue
            yield name, status.st_mtime_ns, status.st_size, status.st_ino


def file_digest(path: str) -> str:
    """
    Return the digest of the file *path*, which is read again only after a change.
    """
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = _digests.get(path)
        if known is None or known[0] != stamp:
            with open(path, "rb") as stream:
                known = (stamp, digests.digest(stream.read(), 32))
            _digests[path] = known
    except OSError:
        return "unreadable"
    return known[1]


def _directory_digest(path: str, names: Iterable[str]) -> str:
    listed = sorted((name, file_digest(os.path.join(path, name))) for name in names)
    return digests.digest(repr(listed).encode(), 32)


def _metadata_files(path: str) -> Iterator[str]:
    return (name for name in os.listdir(path) if name.endswith(_METADATA))


def _source_files(path: str) -> Iterator[str]:
    """
    Yield the files that a build of the project at *path* may read, relative to *path*.
    """
    for directory, subdirectories, names in os.walk(path):
        top = os.path.samefile(directory, path)
        subdirectories[:] = [
            name
            for name in subdirectories
            if not name.startswith(".")
            and not name.endswith(".egg-info")
            and name not in _NO_SOURCES
            and not (top and name in _NO_SOURCES_AT_TOP)
        ]
        for name in names:
            if not name.endswith((".pyc", ".pyo")):
                yield os.path.relpath(os.path.join(directory, name), path)
