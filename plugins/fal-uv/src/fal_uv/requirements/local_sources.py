"""
The files and projects of this machine that requirements refer to, and their contents.

When a content changes, the environment is built again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fal_core import digests
from fal_core.declaring import inline_metadata
from fal_uv.requirements.entries import Form, Requirement

if TYPE_CHECKING:
    from fal_uv.requirements.settled import Settled


def local_requirements(requirements: Iterable[Requirement]) -> Iterator[Requirement]:
    """Yield those of *requirements* that have a path, and what their files refer to in turn."""
    seen: set[tuple[str, bool]] = set()
    left = list(requirements)
    while left:
        requirement = left.pop(0)
        path = requirement.path
        # A project is one more among those that its lock names.
        if path is None or (path, requirement.form == "settled") in seen:
            continue
        seen.add((path, requirement.form == "settled"))
        yield requirement
        if requirement.form == "file" and path.endswith((".txt", ".in")):
            left += _references_in(path)
        elif requirement.settled is not None:
            left += _projects_of(requirement.settled)


def project_names(requirements: Iterable[Requirement]) -> Iterator[str]:
    """
    Yield the normalised names of the local projects among *requirements*.

    A project whose ``pyproject.toml`` states no name is left out.
    """
    for requirement in local_requirements(requirements):
        if requirement.path is None or not os.path.isdir(requirement.path):
            continue
        try:
            path = os.path.join(requirement.path, "pyproject.toml")
            with open(path, encoding="utf-8", errors="replace") as stream:
                found = re.search(r"""^name\s*=\s*["']([^"']+)["']""", stream.read(), re.M)
        except OSError:
            continue
        if found is not None:
            from packaging.utils import canonicalize_name

            yield canonicalize_name(found[1])


def _projects_of(settled: Settled) -> Iterator[Requirement]:
    """Yield the projects and files of this machine that *settled* has installed."""
    for path, editable in settled.directories():
        if os.path.exists(path):
            form: Form = "editable" if editable and os.path.isdir(path) else "path"
            yield Requirement(text=path, form=form, path=path)


def _references_in(path: str) -> Iterator[Requirement]:
    """Yield the local files and projects that the requirements file *path* refers to."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = [line.split(" #")[0].strip() for line in stream]
    except OSError:
        return  # The build fails on this file, and uv says why.
    for line in lines:
        flag, _, rest = line.replace("=", " ", 1).partition(" ")
        editable = flag in ("-e", "--editable")
        if flag in ("-r", "-c", "--requirement", "--constraint") or editable:
            line = rest.strip()
        name = os.path.join(os.path.dirname(path), line.partition("[")[0])
        if line and not line.startswith(("-", "#")) and os.path.exists(name):
            form = _form(name, editable=editable)
            yield Requirement(text=line, form=form, path=os.path.abspath(name))


def _form(path: str, *, editable: bool) -> Form:
    if os.path.isdir(path):
        return "editable" if editable else "path"
    return "file" if path.endswith((".txt", ".in")) else "path"


#: Directories of a project that hold no sources.
_NO_SOURCES = ("__pycache__", "node_modules")
_NO_SOURCES_AT_TOP = ("build", "dist", "target", "venv", "env")
#: Files that say how an editable project is installed; its sources are read in place.
_METADATA = (".toml", ".cfg", "setup.py", ".txt")
#: Files that a process reads once: it takes a new process to see them changed.
_PROGRAM = (".py", ".so", "pyproject.toml", "setup.cfg")

_digests: dict[str, tuple[tuple[int, int, int], str]] = {}
_blocks: dict[str, tuple[tuple[int, int, int], str]] = {}


def _is_program(requirement: Requirement) -> bool:
    """Tell whether *requirement* is a program, of which the block in it alone counts."""
    path = requirement.path or ""
    return (
        requirement.form in ("file", "settled")
        and path.endswith(".py")
        and os.path.basename(path) != "setup.py"
    )


def digest(requirement: Requirement) -> str:
    """
    Return a digest of the file or project that the local *requirement* refers to.

    For an editable project it covers what says how the project is installed, and not
    its sources.
    """
    path = requirement.path
    assert path is not None
    if requirement.settled is not None:
        files = [file_digest(each) for each in requirement.settled.files()]
        block = block_digest(path) if _is_program(requirement) else ""
        return digests.digest(repr((files, block)).encode(), 32)
    if _is_program(requirement):
        return block_digest(path)
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
        if requirement.settled is not None:
            yield from _stamps_of(requirement.settled.files())
        if _is_program(requirement):
            # Its program is the caller's, who takes its functions along.
            yield block_digest(path), 0, 0, 0
            continue
        if requirement.settled is not None:
            continue
        names: Iterable[str] = ("",)
        if os.path.isdir(path):
            names = (name for name in _source_files(path) if name.endswith(_PROGRAM))
        for name in names:
            try:
                status = os.stat(os.path.join(path, name) if name else path)
            except OSError:
                continue
            yield name, status.st_mtime_ns, status.st_size, status.st_ino


def _stamps_of(paths: Iterable[str]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        yield path, status.st_mtime_ns, status.st_size, status.st_ino


def file_digest(path: str) -> str:
    """Return the digest of the file *path*, which is read again only after a change."""
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


def block_digest(path: str) -> str:
    """Return the digest of what the program *path* says that it requires."""
    try:
        status = os.stat(path)
    except OSError:
        return "unreadable"
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    known = _blocks.get(path)
    if known is None or known[0] != stamp:
        text = inline_metadata(path) or ""
        known = _blocks[path] = (stamp, digests.digest(text.encode(), 32))
    return known[1]


def _directory_digest(path: str, names: Iterable[str]) -> str:
    listed = sorted((name, file_digest(os.path.join(path, name))) for name in names)
    return digests.digest(repr(listed).encode(), 32)


def _metadata_files(path: str) -> Iterator[str]:
    return (name for name in os.listdir(path) if name.endswith(_METADATA))


def _source_files(path: str) -> Iterator[str]:
    """Yield the files that a build of the project at *path* may read, relative to *path*."""
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
