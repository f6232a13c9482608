"""
Kinds of environment: a whole one, and those that break the laws of kinds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import Command, Environment, Interpreter, LocalInterpreter
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log, LogSink
from fal_core.hooks import hookimpl
from fal_core.stores import Build, DirectoryStore

STORE = DirectoryStore(folder="wholes", kind="whole")


@attrs.frozen(kw_only=True)
class Whole(Environment):
    """
    This Python, once a file with the *name* is written. Nothing that it *wants* can be had.
    """

    kind: ClassVar[str] = "whole"

    name: str
    wants: str = ""

    @property
    def key(self) -> str:
        return digest(f"{self.kind}\0{self.name}\0{self.wants}".encode())

    def is_built(self) -> bool:
        return STORE.find_fault(self.key) is None

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        def fill(build: Build) -> None:
            self.fill(build.directory, log)

        STORE.find_or_build(self.key, fill, log=log, cancelled=cancelled)
        return LocalInterpreter(sys.executable)

    def fill(self, directory: str, log: LogSink) -> None:
        """
        Write what is in it.
        """
        log(Log(f"Writing {self.name}", "INFO", "BUILDER", time.time()))
        if self.wants:
            raise EnvironmentBuildError(self.kind, f"There is no {self.wants!r}.")
        Path(directory, "name").write_text(self.name)

    def extend(self, requirements: Iterable[str]) -> Whole:
        return attrs.evolve(self, wants=" ".join(requirements))


@attrs.frozen(kw_only=True)
class BuildsUnlocked(Whole):
    """Looks whether it is built, and builds, while others do the same."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        directory = Path(STORE.path(self.key))
        if not self.is_built():
            self.fill_unlocked(directory, log, cancelled)
        return LocalInterpreter(sys.executable)

    def is_built(self) -> bool:
        return Path(STORE.path(self.key), "name").exists()

    def fill_unlocked(self, directory: Path, log: LogSink, cancelled: Event) -> None:
        """
        Write what is in it, after a moment in which others begin as well.
        """
        directory.mkdir(parents=True, exist_ok=True)
        log(Log(f"Writing {self.name}", "INFO", "BUILDER", time.time()))
        # Long enough for the other processes to come.
        if cancelled.wait(0.5):
            raise Cancelled
        self.fill(str(directory), lambda line: None)


_built_here: set[str] = set()


@attrs.frozen(kw_only=True)
class BuildsAnew(Whole):
    """Builds once more what its process has built before."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        if self.key in _built_here:
            STORE.discard(self.key)
        interpreter = super().build(log, cancelled)
        _built_here.add(self.key)
        return interpreter


@attrs.frozen(kw_only=True)
class LosesAField(Whole):
    """Has a field that does not travel."""

    note: str = "written here"

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "wants": self.wants, "note": ""}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


@attrs.frozen(kw_only=True)
class DropsArguments(Whole):
    """Returns the command of a Python that is told nothing."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        super().build(log, cancelled)
        return Deaf(sys.executable)


class Deaf(LocalInterpreter):
    """A Python that runs what it is not told."""

    def command(self, arguments: Iterable[str], **_: Any) -> Command:
        return super().command(("-c", "pass"))


@attrs.frozen(kw_only=True)
class BuildsOn(Whole):
    """Does not ask whether somebody waits for a build."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return super().build(log, Event())


@attrs.frozen(kw_only=True)
class TriesForEver(Whole):
    """Tries once more where a build has failed, as long as somebody waits for it."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        while True:
            try:
                return super().build(log, cancelled)
            except EnvironmentBuildError:
                if cancelled.wait(0.02):
                    raise Cancelled from None


@attrs.frozen(kw_only=True)
class BuildsAfterOthers(Whole):
    """Tries once more where the build has failed that it has waited for."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        waited = Event()

        def hear(line: Log) -> None:
            if line.message.startswith("Waiting for "):
                waited.set()
            log(line)

        try:
            return super().build(hear, cancelled)
        except EnvironmentBuildError:
            if not waited.is_set():
                raise
            return super().build(log, cancelled)

    def fill(self, directory: str, log: LogSink) -> None:
        # Long enough for the other processes to come.
        time.sleep(0.5 if self.wants else 0)
        super().fill(directory, log)


@attrs.frozen(kw_only=True)
class RaisesItsOwn(Whole):
    """Raises an error of its builder as it is."""

    def fill(self, directory: str, log: LogSink) -> None:
        try:
            super().fill(directory, log)
        except EnvironmentBuildError as error:
            raise LookupError(str(error)) from None


class RegisteredKind:
    """
    A plugin with one kind.

    Attributes:
        breaks: The laws that it breaks, that for which it is there first; empty for none.

        law_timeout: Seconds that its laws wait.
    """

    fal_core_api = 1

    def __init__(self, cls: type[Whole], *breaks: str, law_timeout: float = 30.0) -> None:
        self.cls = cls
        self.breaks = breaks
        self.law_timeout = law_timeout

    @hookimpl
    def fal_register_environments(self) -> Iterable[type[Environment]]:
        return [self.cls]
