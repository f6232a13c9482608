"""Runs of uv: what it is started with, what it says, and the files that it is given."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from threading import Event

import attrs

from fal_core.events import Level, Log, LogSink
from fal_uv.installing import uv_errors
from fal_uv.installing.indexes import Indexes
from fal_uv.installing.targets import Target
from fal_uv.requirements import url_credentials
from fal_uv.running import child_processes, uv


@attrs.frozen
class BuildLog:
    """Passes lines to *sink* as events of the source ``BUILDER``, with credentials masked."""

    sink: LogSink

    def write(self, line: str) -> None:
        """Log one *line*, as a warning if it begins as uv's warnings do."""
        level: Level = "WARNING" if line.startswith("warning:") else "INFO"
        self.sink(Log(url_credentials.mask(line), level, "BUILDER", time.time()))


@attrs.define(kw_only=True)
class UvRuns:
    """
    Runs of uv for one target.

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

    def run_uv(
        self,
        command: Sequence[str],
        variables: Mapping[str, str | None],
        *,
        where: str | None = None,
        quiet: bool = False,
    ) -> tuple[list[str], int]:
        """
        Run a *command* of uv in the directory *where*; return its output and exit code.

        Arguments:
            quiet: Whether to log nothing.
        """
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
            [*uv.uv_command(), *command],
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

    def settings(
        self, refresh: bool, *, own: bool = False
    ) -> tuple[list[str], dict[str, str | None]]:
        """
        Return options for uv, and the changes to the variables that it is started with.

        Arguments:
            own: Whether uv works on what has settings of its own, which hold.
        """
        variables = dict(self.indexes.variables)
        if self.temporary is not None:
            variables["TMPDIR"] = self.temporary
        options = ["--no-progress", *self.indexes.options]
        refresh = refresh and not self.indexes.offline
        if refresh:
            options.append("--refresh")
        if own:
            return options, variables
        options += self.indexes.choices
        # uv does not refresh what a configuration file allows it to cache.
        config = None if refresh else self.indexes.config
        if config is not None:
            variables |= dict.fromkeys(("UV_NO_CONFIG", "UV_DEFAULT_INDEX", "UV_INDEX_URL"))
            options += ["--config-file", self.write("uv.toml", [config])]
        elif not self.indexes.configuration:
            options.append("--no-config")
        return options, variables

    def write(self, name: str, lines: Sequence[str]) -> str:
        """Write *lines* to the file *name*, which only this user may read; return its path."""
        path = os.path.join(self.workspace, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        return path
