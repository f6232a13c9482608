"""Kinds of environment: a whole one, and those that break the laws of kinds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
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
    """This Python, once a file with the *name* is written. Nothing that it *wants* can be had."""

    kind: ClassVar[str] = "whole"

    name: str
    wants: str = ""

    @property
    def entry(self) -> str:
        """The name of what it builds in the store."""
        return digest(f"{self.kind}\0{self.name}\0{self.wants}".encode())

    @property
    def key(self) -> str:
        return self.entry

    def is_built(self) -> bool:
        return STORE.find_fault(self.entry) is None

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        def fill(build: Build) -> None:
            self.fill(build.directory, log)

        STORE.find_or_build(self.entry, fill, log=log, cancelled=cancelled)
        return LocalInterpreter(sys.executable)

    def fill(self, directory: str, log: LogSink) -> None:
        """Write what is in it."""
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
        """Write what is in it, after a moment in which others begin as well."""
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
class HashesItsName(Whole):
    """Has a key that is another one in each process."""

    @property
    def key(self) -> str:
        return digest(f"{hash(self.name)}\0{self.wants}".encode())


@attrs.frozen(kw_only=True)
class SharesOneKey(Whole):
    """Has one key for all declarations that take no requirements."""

    @property
    def key(self) -> str:
        return digest(b"extended" if self.wants.startswith("fal-core-law") else b"one")


@attrs.frozen(kw_only=True)
class ForgetsRequirements(Whole):
    """Takes requirements, and has none of them."""

    def extend(self, requirements: Iterable[str]) -> ForgetsRequirements:
        return self


@attrs.frozen(kw_only=True)
class BuildsOn(Whole):
    """Does not ask whether somebody waits for a build."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return super().build(log, Event())


_failed_here: set[str] = set()


@attrs.frozen(kw_only=True)
class TriesForEver(Whole):
    """Tries, as long as somebody waits for it, what has failed in its process before."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        while True:
            try:
                return super().build(log, cancelled)
            except EnvironmentBuildError:
                if self.entry not in _failed_here:
                    _failed_here.add(self.entry)
                    raise
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
    """Raises an error of its own where it cannot build."""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        try:
            return super().build(log, cancelled)
        except EnvironmentBuildError as error:
            raise LookupError(str(error)) from None


class Started(Whole):
    """A kind whose interpreter is of the class *starts*."""

    starts: ClassVar[type[LocalInterpreter]]

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        super().build(log, cancelled)
        return self.starts(sys.executable)


class Deaf(LocalInterpreter):
    """Reads nothing from its standard input."""

    def command(self, arguments: Sequence[str], **told: Any) -> Command:
        command = super().command(arguments, **told)
        start = ("/bin/sh", "-c", 'exec "$@" </dev/null', "sh")
        return attrs.evolve(command, argv=(*start, *command.argv))


@attrs.frozen(kw_only=True)
class TakesNoInput(Started):
    """Has processes with another standard input than that of what is started."""

    starts = Deaf


class Open(LocalInterpreter):
    """Has the values of variables in its command line."""

    def command(
        self, arguments: Sequence[str], *, variables: Mapping[str, str] = {}, **told: Any
    ) -> Command:
        command = super().command(arguments, **told)
        shown = (f"{name}={value}" for name, value in variables.items())
        return attrs.evolve(command, argv=("/usr/bin/env", *shown, *command.argv))


@attrs.frozen(kw_only=True)
class ShowsVariables(Started):
    """Tells a process its variables where other users read them."""

    starts = Open


class Blind(LocalInterpreter):
    """Passes on no variables."""

    def command(self, arguments: Sequence[str], **told: Any) -> Command:
        return super().command(arguments)


@attrs.frozen(kw_only=True)
class HidesVariables(Started):
    """Tells a process none of its variables."""

    starts = Blind


class HalfMounting(LocalInterpreter):
    """Has folders where a process is told that they are if it has a name."""

    def command(
        self,
        arguments: Sequence[str],
        *,
        binds: Mapping[str, str] = {},
        name: str | None = None,
        **told: Any,
    ) -> Command:
        for source, target in binds.items() if name else ():
            arguments = [word.replace(target, source) for word in arguments]
        return super().command(arguments, **told)


@attrs.frozen(kw_only=True)
class MountsForNames(Started):
    """Says that its processes see what *binds* says, and only some of them do."""

    starts = HalfMounting

    @property
    def isolates_files(self) -> bool:
        return True


@attrs.frozen(kw_only=True)
class PublishesNothing(Whole):
    """Says that *ports* lead to its processes, and has none of them lead there."""

    @property
    def isolates_network(self) -> bool:
        return True


class Closing(LocalInterpreter):
    """Is started by a program that passes no descriptor on, whatever its channel says."""

    def command(self, arguments: Sequence[str], **told: Any) -> Command:
        command = super().command(arguments, **told)
        program = "import os, sys; os.closerange(3, 1024); os.execv(sys.argv[1], sys.argv[1:])"
        start = (sys.executable, "-I", "-S", "-c", program)
        return attrs.evolve(command, argv=(*start, *command.argv))


@attrs.frozen(kw_only=True)
class PromisesDescriptors(Started):
    """Has a channel that does not lead to its processes."""

    starts = Closing


class Around(LocalInterpreter):
    """Is started by a program whose end it outlives."""

    def command(self, arguments: Sequence[str], **told: Any) -> Command:
        command = super().command(arguments, **told)
        program = (
            "import subprocess, sys; "
            "sys.exit(subprocess.run(sys.argv[1:], close_fds=False).returncode)"
        )
        start = (sys.executable, "-I", "-S", "-c", program)
        return attrs.evolve(command, argv=(*start, *command.argv))


@attrs.frozen(kw_only=True)
class LeavesProcesses(Started):
    """Names no command that ends what a signal does not reach."""

    starts = Around


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
