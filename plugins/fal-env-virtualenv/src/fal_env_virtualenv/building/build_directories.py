"""
The directory in which one environment is built: an empty one, and the link to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import attrs

from fal_core.reprs import show_fields
from fal_core.stores import Build
from fal_env_virtualenv.building.build_links import BuildLink, linked
from fal_env_virtualenv.store.environments import STORE, BuildRecord
from fal_uv.requirements.pythons import Python


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
        """
        The ``site-packages`` of the environment.
        """
        return os.path.join(self.build.directory, self.python.library)

    @property
    def linked_executable(self) -> str:
        """
        The Python of the environment, at the path where uv sees it.
        """
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
