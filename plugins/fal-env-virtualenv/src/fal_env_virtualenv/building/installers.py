"""
Installing packages into an environment with ``uv pip install``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence

import attrs

from fal_core.events import Level, Log, LogSink
from fal_env_virtualenv.building import child_processes, uv, uv_errors
from fal_env_virtualenv.building.build_directories import BuildDirectory
from fal_env_virtualenv.building.indexes import Indexes
from fal_env_virtualenv.building.pins import DIST_INFO, add_hashes, is_version, pin_installed
from fal_env_virtualenv.requirements import url_credentials
from fal_env_virtualenv.requirements.entries import Requirement
from fal_env_virtualenv.requirements.local_sources import project_names
from fal_env_virtualenv.store.environments import BuildRecord


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


@attrs.frozen
class Installer:
    """
    Installs packages from *indexes* into the environment in *directory*.
    """

    directory: BuildDirectory
    indexes: Indexes
    log: BuildLog

    def install(
        self,
        requirements: Sequence[Requirement],
        *,
        constraints_file: str | None,
        compile_bytecode: bool,
        refresh: bool,
    ) -> None:
        """
        Install one layer, and change nothing in the layers before it.

        Arguments:
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
        if earlier := [pin for pin in self.pins() if is_version(pin)]:
            arguments += ["-c", self.directory.write("earlier.txt", earlier)]
        arguments += ["--compile-bytecode"] if compile_bytecode else []
        # uv looks at few files of a project to tell whether it has changed.
        for name in project_names(requirements):
            arguments += ["--refresh-package", name]
        # uv resolves relative paths in a file against the directory it runs in. They are
        # meant to be relative to the file.
        files = [entry.path for entry in requirements if entry.form == "file" and entry.path]
        where = os.path.dirname(files[0]) if files else self.directory.path
        lines, code = self._run(arguments, where=where, refresh=refresh)
        if code != 0 and not refresh and self.indexes.config and uv_errors.is_unsolved(lines):
            self.log.write("Trying once more with what the index has now")
            lines, code = self._run(arguments, where=where, refresh=True)
        if code != 0:
            raise uv_errors.build_error(lines, requirements, code)

    def install_pins(self, record: BuildRecord) -> None:
        """
        Install the pins of *record*, from uv's cache if it has them all.

        Raises:
            EnvironmentBuildError: uv failed; the error says why.

            Cancelled: The build was cancelled.
        """
        path = self.directory.write("pins.txt", record.pins)
        arguments = ["--no-deps", "-r", path]
        arguments += ["--compile-bytecode"] if record.compile_bytecode else []
        lines, code = self._run([*arguments, "--offline"], quiet=True)
        if code != 0:
            lines, code = self._run(arguments)
        if code != 0:
            pins = [pin.partition(" --hash=")[0] for pin in record.pins]
            raise uv_errors.build_error(lines, [_as_requirement(pin) for pin in pins], code)

    def packages(self) -> tuple[str, ...]:
        """
        Return the names of the ``.dist-info`` directories of what is installed, sorted.
        """
        names = os.listdir(self.directory.library)
        return tuple(sorted(name for name in names if name.endswith(DIST_INFO)))

    def pins(self) -> tuple[str, ...]:
        """
        Return a pin for each installed package.
        """
        library = self.directory.library
        return tuple(pin_installed(os.path.join(library, name)) for name in self.packages())

    def hashed_pins(self) -> tuple[str, ...]:
        """
        Return :meth:`pins`, with the hashes of the files that the index has for each.

        The hashes come from what uv has cached of the index, which is not asked again.
        There are none where the index states none, or a package comes from elsewhere.
        """
        pins = self.pins()
        versions = [pin for pin in pins if is_version(pin)]
        if not versions:
            return pins
        options, variables = self._settings(refresh=False)
        options += ["--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
        options += ["--offline", "--quiet", self.directory.write("versions.txt", versions)]
        _, output = uv.ask(
            [*uv.uv_command(), "pip", "compile", *options],
            variables=variables,
            directory=self.directory.path,
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
            yield from ("-r", self.directory.write("requirements.txt", secret))

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
        lines: list[str] = []
        failure: list[str] = []

        def on_line(line: str) -> None:
            # The path of the build directory is of no use to anyone.
            if line.strip() and not line.startswith("Using Python "):
                lines.append(url_credentials.mask(line))
                if failure or uv_errors.is_error(line):
                    failure.append(line)
                elif not quiet:
                    self.log.write(line)

        link = self.directory.link
        code = child_processes.run(
            [*uv.uv_command(), "pip", "install", *options, *arguments],
            variables=uv.uv_variables(variables),
            directory=where or self.directory.path,
            on_line=on_line,
            cancelled=self.directory.cancelled,
            inherited=() if link is None else (link.lock,),
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
        options = ["--python", self.directory.linked_executable, "--no-progress"]
        if refresh:
            options.append("--refresh")
        # uv does not refresh what a configuration file allows it to cache.
        config = None if refresh else self.indexes.config
        if config is not None:
            variables |= dict.fromkeys(("UV_NO_CONFIG", "UV_DEFAULT_INDEX", "UV_INDEX_URL"))
            options += ["--config-file", self.directory.write("uv.toml", [config])]
        elif not self.indexes.configuration:
            options.append("--no-config")
        return options, variables


def _as_requirement(pin: str) -> Requirement:
    name = re.match(r"[\w.-]+", pin)
    return Requirement(text=pin, form="index", name=name[0] if name else None)
