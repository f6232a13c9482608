"""
The temporary directory in which one environment is built.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import threading
from contextlib import ExitStack
from threading import Event

import attrs

from fal_core.errors import Cancelled
from fal_env_virtualenv.building.build_links import BuildLink, linked
from fal_env_virtualenv.store import environments
from fal_env_virtualenv.store.collection import discard
from fal_env_virtualenv.store.environments import BuildRecord
from fal_env_virtualenv.store.layout import store_root
from fal_uv.requirements.pythons import Python
from fal_uv.running import child_processes


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


#: Seconds that a process which ends gives its builds to remove their directories.
_PATIENCE = 5.0

# The directories that this process has not removed yet. A forked child has none.
_open: set[str] = set()
_removed = threading.Condition()


def _remove(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    with _removed:
        _open.discard(directory)
        _removed.notify_all()


def _end_builds() -> None:
    """
    End the builds of this process, and wait until their directories are removed.
    """
    child_processes.exiting.set()
    with _removed:
        _removed.wait_for(lambda: not _open, _PATIENCE)


def _forget_builds() -> None:
    global _removed
    _removed = threading.Condition()
    _open.clear()


atexit.register(_end_builds)
os.register_at_fork(after_in_child=_forget_builds)


@attrs.define(kw_only=True)
class BuildDirectory:
    """
    The temporary directory of one build; leaving the context removes it.

    Attributes:
        path: Holds the environment, and the files that uv is given.

        link: The link at which uv sees *path*; None if there is none.
    """

    path: str
    python: Python
    cancelled: Event
    link: BuildLink | None = attrs.field(init=False, default=None)
    _exits: ExitStack = attrs.field(init=False, factory=ExitStack)

    @classmethod
    def create(cls, key: str, python: Python, cancelled: Event) -> BuildDirectory:
        """
        Create a directory for a build of *key* with *python*.
        """
        path = os.path.join(store_root(), "building", f"{key}.{os.urandom(4).hex()}")
        directory = cls(path=path, python=python, cancelled=cancelled)
        os.mkdir(path)
        with _removed:
            _open.add(path)
        return directory

    @property
    def environment(self) -> str:
        """
        The directory of the environment.
        """
        return os.path.join(self.path, "environment")

    @property
    def library(self) -> str:
        """
        The ``site-packages`` of the environment.
        """
        return os.path.join(self.environment, self.python.library)

    @property
    def linked_executable(self) -> str:
        """
        The Python of the environment, at the path where uv sees it.
        """
        path = self.path if self.link is None else self.link.path
        return os.path.join(path, "environment", "bin", "python")

    def __enter__(self) -> BuildDirectory:
        try:
            create_skeleton(self.environment, self.python)
            link = linked(store_root(), self.path, self.python)
            self.link = self._exits.enter_context(link)
        except BaseException:
            _remove(self.path)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._exits.close()
        if isinstance(error, Cancelled):
            # The caller who cancelled does not wait until many files are removed.
            threading.Thread(target=_remove, args=(self.path,), daemon=True).start()
        else:
            _remove(self.path)

    def finish(self, record: BuildRecord) -> None:
        """
        Mark the environment as complete, and move it to the path of *record*.

        Raises:
            Cancelled: The build was cancelled.
        """
        if self.cancelled.is_set():
            raise Cancelled("The call was cancelled while its environment was being built.")
        environments.mark_complete(self.environment, record.digest)
        environments.release(record.path)
        discard(record.path)
        os.rename(self.environment, record.path)
