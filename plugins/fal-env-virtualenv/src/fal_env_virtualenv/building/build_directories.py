"""The directory in which one environment is built: an empty one, and the link to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import attrs

from fal_core.caches import leave_to_children, remove_quietly, try_lock
from fal_core.digests import digest
from fal_core.reprs import show_fields
from fal_core.stores import Build
from fal_env_virtualenv.store.environments import STORE, BuildRecord
from fal_uv.requirements.pythons import Python

# uv starts the interpreter of an environment to ask what it is, which takes longer than to
# install a few small packages. It keeps the answer by the interpreter's path and the age
# of the Python behind it. Each build has a directory of its own, so uv is given a path
# that leads there through a link at which it has seen an environment of that Python before.
#
# Each link has a lock, which the child processes of the build inherit. So a link is free
# when the last of them has ended, even if their build was killed.

#: How many builds with one Python have a link at the same time; others do without.
_LINKS = 8
#: The shell around uv uses the descriptors below this one itself.
_FIRST_DESCRIPTOR = 10


@attrs.frozen
class BuildLink:
    """
    A symbolic link that one build uses.

    Attributes:
        path: Where the link is.

        lock: The descriptor of its lock, to be inherited by child processes that use it.
    """

    __repr__ = show_fields

    path: str
    lock: int


@contextmanager
def linked(root: str, directory: str, python: Python) -> Iterator[BuildLink | None]:
    """
    Point a link below *root* to *directory* for as long as the context lasts.

    It is None if no link is free, and *directory* has to be used itself.
    """
    where = os.path.join(root, "links")
    os.makedirs(where, exist_ok=True)
    made_from = repr((os.path.realpath(python.executable), python.executable, python.version))
    name = os.path.join(where, digest(made_from.encode(), 8))
    for number in range(_LINKS):
        path = f"{name}.{number}"
        lock = try_lock(f"{path}.lock", shared=False, create=True, least=_FIRST_DESCRIPTOR)
        if lock is None:
            continue
        try:
            remove_quietly(path)
            os.symlink(directory, path)
            yield BuildLink(path, lock)
        finally:
            remove_quietly(path)
            leave_to_children(lock)
        return
    yield None


def create_skeleton(path: str, python: Python) -> None:
    """
    Create an empty virtual environment at *path* that may be moved.

    It is the one that ``uv venv --relocatable`` makes, without activation scripts, and
    is made without starting a process.
    """
    programs = os.path.join(path, "bin")
    os.makedirs(programs)
    os.makedirs(os.path.join(path, python.library))
    os.symlink(python.executable, os.path.join(programs, "python"))
    for name in ("python3", f"python{python.minor_version}"):
        os.symlink("python", os.path.join(programs, name))
    if sys.platform == "linux" and sys.maxsize > 2**32:
        os.symlink("lib", os.path.join(path, "lib64"))
    settings = {
        "home": os.path.dirname(python.executable),
        "implementation": {"cpython": "CPython", "pypy": "PyPy"}.get(
            python.implementation, python.implementation
        ),
        "version_info": python.version,
        "include-system-site-packages": "false",
        "relocatable": "true",
    }
    with open(os.path.join(path, "pyvenv.cfg"), "w", encoding="utf-8") as stream:
        stream.writelines(f"{name} = {value}\n" for name, value in settings.items())


@attrs.frozen(kw_only=True)
class BuildDirectory:
    """
    An environment that is being built with *python*.

    Attributes:
        link: The link at which uv sees the workspace of *build*; None if there is none.
    """

    __repr__ = show_fields

    build: Build
    python: Python
    link: BuildLink | None

    @property
    def library(self) -> str:
        """The ``site-packages`` of the environment."""
        return os.path.join(self.build.directory, self.python.library)

    @property
    def linked_executable(self) -> str:
        """The Python of the environment, at the path where uv sees it."""
        build = self.build
        inside = os.path.relpath(build.directory, build.workspace)
        path = build.workspace if self.link is None else self.link.path
        return os.path.join(path, inside, "bin", "python")

    def finish(self, record: BuildRecord) -> None:
        """
        Mark the environment as complete, and move it to the path of *record*.

        Raises:
            Cancelled: The build was cancelled.
        """
        self.build.finish(name=record.digest)


@contextmanager
def open_directory(key: str, python: Python, cancelled: Event) -> Iterator[BuildDirectory]:
    """
    Create an empty environment for a build of *key*, whose lock the caller holds.

    At the end of the context it is removed, unless it was finished.
    """
    with STORE.open_build(key, cancelled=cancelled) as build:
        create_skeleton(build.directory, python)
        with linked(STORE.root, build.workspace, python) as link:
            yield BuildDirectory(build=build, python=python, link=link)
