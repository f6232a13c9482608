"""Counted builds: a kind of environment that tells how often it was built, or fails to be."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import THIS_PYTHON, Environment, Interpreter, LocalInterpreter
from fal_core.errors import Cancelled, EnvironmentBuildError, OptionError
from fal_core.events import Log, LogSink
from fal_core.hooks import hookimpl
from fal_core.plugins import registered
from fal_core.stores import Build, DirectoryStore

#: A plugin, which is registered for a while.
fal_core_api = 1

STORE = DirectoryStore(folder="counted-builds", kind="counted-builds")

#: Seconds that a build takes, in which others come that need it.
_TAKES = 0.2


class Counted:
    """
    What has become of one environment, in all processes of this machine.

    Attributes:
        folder: Where its builds leave their marks.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def builds(self) -> int:
        """How many builds of it have begun."""
        try:
            with open(_marks(self.folder)) as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0


def _marks(folder: str) -> str:
    return os.path.join(folder, "builds")


@attrs.frozen(kw_only=True)
class CountedPython(Environment):
    """
    The running Python, once an empty directory was made for it in the cache.

    Attributes:
        law_folder: Where each build leaves a mark.

        law_fails: Whether its builds fail.
    """

    kind: ClassVar[str] = "counted-builds"

    law_folder: str
    law_fails: bool = False

    @property
    def key(self) -> str:
        return digest(f"{self.kind}\0{self.law_folder}\0{self.law_fails}".encode())

    def is_built(self) -> bool:
        return STORE.find_fault(self.key) is None

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        def fill(build: Build) -> None:
            with open(_marks(self.law_folder), "a") as file:
                file.write("built\n")
            log(Log("Making a directory", "INFO", "BUILDER", time.time()))
            if cancelled.wait(_TAKES):
                raise Cancelled
            if self.law_fails:
                raise EnvironmentBuildError(self.kind, "It is declared to fail.")

        STORE.find_or_build(self.key, fill, log=log, cancelled=cancelled)
        return LocalInterpreter(sys.executable, THIS_PYTHON)

    def extend(self, requirements: Iterable[str]) -> CountedPython:
        raise OptionError(f"Kind {self.kind!r} takes no requirements.")


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``counted-builds``."""
    return [CountedPython]


@contextmanager
def counted_builds() -> Iterator[Counted]:
    """
    Yield the count of an environment that nobody has built.

    While the context lasts, functions of the kind ``counted-builds`` have that environment
    which have its folder as their ``law_folder``.
    """
    folder = tempfile.mkdtemp(prefix="fal-core-law-")
    try:
        with registered(sys.modules[__name__]):
            yield Counted(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for fails in (False, True):
            key = CountedPython(law_folder=folder, law_fails=fails).key
            STORE.release(key)
            STORE.discard(key)
            with suppress(OSError):
                os.unlink(STORE.lock_path(key))
