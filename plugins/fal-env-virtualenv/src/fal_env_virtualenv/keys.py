"""
Keys of environments: what makes one environment another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fal_env_virtualenv import credentials
from fal_env_virtualenv.indexes import find_indexes, platform_name
from fal_env_virtualenv.pythons import find_python
from fal_env_virtualenv.records import store_root
from fal_env_virtualenv.requirements import Form, Requirement, parse

if TYPE_CHECKING:
    from fal_env_virtualenv import Virtualenv

_VERSION = 1
#: What is beside the sources of a project without being one.
_NO_SOURCES = ("__pycache__", "node_modules")
_NO_SOURCES_AT_TOP = ("build", "dist", "target", "venv", "env")
#: What says how an editable project is installed; its sources are read in place.
_METADATA = (".toml", ".cfg", "setup.py", ".txt")

_contents: dict[str, tuple[tuple[int, int, int], str]] = {}


def environment_key(environment: Virtualenv) -> str:
    """
    Return the key of *environment* as this machine is now.
    """
    python = find_python(environment.python_version, store_root())
    parts = (
        _VERSION,
        [[credentials.without(entry) for entry in layer] for layer in environment.layers],
        (python.executable, python.version),
        platform_name(),
        find_indexes(environment.extra_index_urls).fingerprint(),
        environment.compile_bytecode,
        environment.tags,
        list(_local_contents(environment)),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _local_contents(environment: Virtualenv) -> Iterator[str]:
    requirements = (parse(entry) for layer in environment.layers for entry in layer)
    yield from _digests(requirements, set())
    if environment.constraints_file is not None:
        yield _file_digest(os.fspath(environment.constraints_file))


def _digests(requirements: Iterable[Requirement], seen: set[str]) -> Iterator[str]:
    """
    Yield what changes when something changes that *requirements* refer to.
    """
    for requirement in requirements:
        path = requirement.path
        if path is None or path in seen:
            continue
        seen.add(path)
        if requirement.form == "file":
            yield _file_digest(path)
            yield from _digests(_included(path, seen), seen)
        elif requirement.form == "editable":
            yield _directory_digest(path, metadata=True)
        elif os.path.isdir(path):
            yield _directory_digest(path, metadata=False)
        else:
            yield _file_digest(path)


def _included(path: str, seen: set[str]) -> Iterator[Requirement]:
    """
    Yield the local files and projects that the requirements file *path* refers to.
    """
    if not path.endswith(".txt"):
        return
    with open(path, encoding="utf-8", errors="replace") as stream:
        lines = [line.split(" #")[0].strip() for line in stream]
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


def _file_digest(path: str) -> str:
    """
    Return the digest of the file *path*, read again only when it has changed.
    """
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = _contents.get(path)
        if known is None or known[0] != stamp:
            with open(path, "rb") as stream:
                known = (stamp, hashlib.sha256(stream.read()).hexdigest())
            _contents[path] = known
    except OSError:
        return "unreadable"
    return known[1]


def _directory_digest(path: str, *, metadata: bool) -> str:
    names = _metadata_files(path) if metadata else _source_files(path)
    listed = sorted((name, _file_digest(os.path.join(path, name))) for name in names)
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def _metadata_files(path: str) -> Iterator[str]:
    return (name for name in os.listdir(path) if name.endswith(_METADATA))


def _source_files(path: str) -> Iterator[str]:
    """
    Yield the paths, from *path*, of the files that a build of the project may read.
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
