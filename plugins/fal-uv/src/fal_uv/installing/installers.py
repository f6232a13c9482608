"""
Installing packages into a target with ``uv pip install``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from threading import Event

import attrs

from fal_core.events import Level, Log, LogSink
from fal_uv.installing import uv_errors
from fal_uv.installing.indexes import Indexes
from fal_uv.installing.pins import (
    DIST_INFO,
    add_hashes,
    is_version,
    pin_installed,
    pinned_projects,
)
from fal_uv.installing.targets import Target
from fal_uv.requirements import url_credentials
from fal_uv.requirements.entries import Requirement
from fal_uv.requirements.local_sources import project_names
from fal_uv.running import child_processes, uv


@attrs.frozen
class BuildLog:
    """
    Passes lines to *sink* as events of the source ``BUILDER``, with credentials masked.
    """

    sink: LogSink

    def write(self, line: str) -> None:
        """
        Log one *line*, as a warning if it begins as uv's warnings do.
        """
        level: Level = "WARNING" if line.startswith("warning:") else "INFO"
        self.sink(Log(url_credentials.mask(line), level, "BUILDER", time.time()))


@attrs.frozen(kw_only=True)
class Installer:
    """
    Installs packages into one target.

    Attributes:
        kind: The kind of the environment, as errors name it.

        workspace: A directory for the files that uv is given. They may hold credentials
            of this build; its maker removes it.

        indexes: Where the packages come from.

        cancelled: Ends uv, and the call that runs it with ``Cancelled``.

        inherited: Descriptors that uv and its child processes inherit, each at least 10.

        builds: Whether what has no wheel is built, which runs code of it on this machine.

        temporary: The directory of uv's temporary files, among which is a lock that it leaves
            there for a Python that is no virtual environment's. None for that of the system.
    """

    kind: str
    target: Target
    workspace: str
    indexes: Indexes
    log: BuildLog
    cancelled: Event
    inherited: tuple[int, ...] = ()
    builds: bool = True
    temporary: str | None = None

    def install(
        self,
        requirements: Sequence[Requirement],
        *,
        constraints_file: str | None = None,
        constraints: Sequence[str] = (),
        excludes: Sequence[str] = (),
        compile_bytecode: bool = False,
        refresh: bool = False,
    ) -> None:
        """
        Install one layer, and change nothing in the layers before it.

        Arguments:
            constraints: Versions that what is installed must have, as in ``numpy==2.1``.

            excludes: Names of packages that are not installed, though others require them:
                they are elsewhere on the path of the Python.

            refresh: Whether to ask the indexes again for what uv has cached.

        Raises:
            EnvironmentBuildError: uv failed; the error says why.

            Cancelled: The build was cancelled.
        """
        if not requirements:
            return
        arguments = [*self._requirement_arguments(requirements)]
        if constraints_file is not None:
            arguments += ["-c", constraints_file]
        if earlier := [*filter(is_version, self.pins()), *constraints]:
            arguments += ["-c", self._write("earlier.txt", earlier)]
        if excludes:
            arguments += ["--excludes", self._write("excludes.txt", excludes)]
        arguments += ["--compile-bytecode"] if compile_bytecode else []
        # uv looks at few files of a project to tell whether it has changed. Refreshing the
        # package would do the same, and is refused offline.
        for name in project_names(requirements):
            arguments += ["--reinstall-package", name]
        # uv resolves relative paths in a file against the directory it runs in. They are
        # meant to be relative to the file.
        files = [entry.path for entry in requirements if entry.form == "file" and entry.path]
        where = os.path.dirname(files[0]) if files else self.workspace
        lines, code = self._run(arguments, where=where, refresh=refresh)
        may_ask = not refresh and not self.indexes.offline
        if code != 0 and may_ask and self.indexes.config and uv_errors.is_unsolved(lines):
            self.log.write("Trying once more with what the index has now")
            lines, code = self._run(arguments, where=where, refresh=True)
        if code != 0:
            raise uv_errors.build_error(self.kind, lines, requirements, code)

    def install_pins(self, pins: Sequence[str], *, compile_bytecode: bool = False) -> None:
        """
        Install *pins* and nothing else, from uv's cache if it has them all.

        Raises:
            EnvironmentBuildError: uv failed; the error says why.

            Cancelled: The build was cancelled.
        """
        path = self._write("pins.txt", pins)
        arguments = ["--no-deps", "-r", path]
        for name in pinned_projects(pins):
            arguments += ["--reinstall-package", name]
        arguments += ["--compile-bytecode"] if compile_bytecode else []
        lines, code = self._run([*arguments, "--offline"], quiet=True)
        if code != 0:
            lines, code = self._run(arguments)
        if code != 0:
            plain = [_as_requirement(pin.partition(" --hash=")[0]) for pin in pins]
            raise uv_errors.build_error(self.kind, lines, plain, code)

    def packages(self) -> tuple[str, ...]:
        """
        Return the names of the ``.dist-info`` directories of what is installed, sorted.
        """
        try:
            names = os.listdir(self.target.library)
        except FileNotFoundError:
            return ()  # A folder that uv has not made yet.
        return tuple(sorted(name for name in names if name.endswith(DIST_INFO)))

    def pins(self, *, without: Collection[str] = ()) -> tuple[str, ...]:
        """
        Return a pin for each installed package.

        Arguments:
            without: Those of :meth:`packages` to leave out, which others installed.
        """
        library = self.target.library
        names = [name for name in self.packages() if name not in without]
        return tuple(pin_installed(os.path.join(library, name)) for name in names)

    def hashed_pins(self, *, without: Collection[str] = ()) -> tuple[str, ...]:
        """
        Return :meth:`pins`, with the hashes of the files that the index has for each.

        The hashes come from what uv has cached of the index, which is not asked again.
        There are none where the index states none, or a package comes from elsewhere.
        """
        pins = self.pins(without=without)
        versions = [pin for pin in pins if is_version(pin)]
        if not versions:
            return pins
        options, variables = self._settings(refresh=False)
        options += self.target.choice
        options += ["--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
        options += ["--offline", "--quiet", self._write("versions.txt", versions)]
        _, output = uv.ask(
            [*uv.uv_command(), "pip", "compile", *options],
            variables=variables,
            directory=self.workspace,
        )
        return add_hashes(pins, output)

    def _requirement_arguments(self, requirements: Sequence[Requirement]) -> Iterator[str]:
        """
        Yield *requirements* as arguments; those with credentials are written to a file.

        Any user of the machine may see the arguments of a process.
        """
        secret = [
            requirement.text
            for requirement in requirements
            if url_credentials.strip(requirement.text) != requirement.text
        ]
        for requirement in requirements:
            if requirement.text not in secret:
                yield from requirement.arguments
        if secret:
            yield from ("-r", self._write("requirements.txt", secret))

    def _run(
        self,
        arguments: Sequence[str],
        *,
        where: str | None = None,
        refresh: bool = False,
        quiet: bool = False,
    ) -> tuple[list[str], int]:
        """
        Run ``uv pip install`` in the directory *where*; return its output and exit code.

        Arguments:
            quiet: Whether to log nothing.
        """
        options, variables = self._settings(refresh)
        options += [*self.target.choice, *self.target.place]
        options += [] if self.builds else ["--no-build"]
        lines: list[str] = []
        failure: list[str] = []

        def on_line(line: str) -> None:
            # Which Python uv works with, at the path of the build, is of no use to anyone.
            if line.strip() and not line.startswith("Using "):
                lines.append(url_credentials.mask(line))
                if failure or uv_errors.is_error(line):
                    failure.append(line)
                elif not quiet:
                    self.log.write(line)

        code = child_processes.run(
            [*uv.uv_command(), "pip", "install", *options, *arguments],
            variables=uv.uv_variables(variables),
            directory=where or self.workspace,
            on_line=on_line,
            cancelled=self.cancelled,
            inherited=self.inherited,
        )
        # The error states the reason. If it were logged too, users would read it twice.
        for line in () if quiet else uv_errors.lines_beside_reason(failure):
            self.log.write(line)
        return lines, code

    def _settings(self, refresh: bool) -> tuple[list[str], dict[str, str | None]]:
        """
        Return options for uv, and the changes to the variables that it is started with.
        """
        variables = dict(self.indexes.variables)
        if self.temporary is not None:
            variables["TMPDIR"] = self.temporary
        options = ["--no-progress", *self.indexes.options]
        refresh = refresh and not self.indexes.offline
        if refresh:
            options.append("--refresh")
        # uv does not refresh what a configuration file allows it to cache.
        config = None if refresh else self.indexes.config
        if config is not None:
            variables |= dict.fromkeys(("UV_NO_CONFIG", "UV_DEFAULT_INDEX", "UV_INDEX_URL"))
            options += ["--config-file", self._write("uv.toml", [config])]
        elif not self.indexes.configuration:
            options.append("--no-config")
        return options, variables

    def _write(self, name: str, lines: Sequence[str]) -> str:
        """
        Write *lines* to the file *name*, which only this user may read; return its path.
        """
        path = os.path.join(self.workspace, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        return path


def _as_requirement(pin: str) -> Requirement:
    name = re.match(r"[\w.-]+", pin)
    return Requirement(text=pin, form="index", name=name[0] if name else None)
