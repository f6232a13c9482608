"""Installing packages into a target with ``uv pip install``."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence

import attrs

from fal_uv.installing import uv_errors
from fal_uv.installing.compiling import install_lock, install_settled, newest_version
from fal_uv.installing.pins import (
    DIST_INFO,
    add_hashes,
    is_version,
    pin_installed,
    pinned_projects,
)
from fal_uv.installing.runs import BuildLog, UvRuns
from fal_uv.requirements import settled, url_credentials
from fal_uv.requirements.entries import Requirement
from fal_uv.requirements.local_sources import project_names
from fal_uv.running import uv

__all__ = ["BuildLog", "Installer"]


@attrs.define(kw_only=True)
class Installer(UvRuns):
    """
    Installs packages into one target.

    Attributes:
        lock: The text of the lock that was installed, with absolute paths and without
            credentials; empty if there was none.
    """

    lock: str = attrs.field(default="", init=False)

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
        for each in requirements:
            if each.settled is not None:
                self.lock = install_settled(
                    self, each, compile_bytecode=compile_bytecode, refresh=refresh
                )
        requirements = [each for each in requirements if each.settled is None]
        asked = [each for each in requirements if each.form != "flag"]
        if not asked:
            return
        arguments = [*self._requirement_arguments(requirements)]
        if constraints_file is not None:
            arguments += ["-c", constraints_file]
        if earlier := [*filter(is_version, self.pins()), *constraints]:
            arguments += ["-c", self.write("earlier.txt", earlier)]
        if excludes:
            arguments += ["--excludes", self.write("excludes.txt", excludes)]
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
            raise uv_errors.build_error(
                self.kind,
                lines,
                asked,
                code,
                where=self.indexes.described(),
                newest=lambda name: newest_version(self, name),
            )

    def install_pins(
        self, pins: Sequence[str], *, lock: str = "", compile_bytecode: bool = False
    ) -> None:
        """
        Install *pins* and nothing else, from uv's cache if it has them all.

        Arguments:
            lock: The text of a lock that was installed before the pins.

        Raises:
            EnvironmentBuildError: uv failed; the error says why.

            Cancelled: The build was cancelled.
        """
        if lock:
            of_lock = Requirement(text="the lock", form="settled")
            install_lock(self, lock, of_lock, compile_bytecode=compile_bytecode)
            self.lock = lock
        if not pins:
            return
        path = self.write("pins.txt", pins)
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
        """Return the names of the ``.dist-info`` directories of what is installed, sorted."""
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

    def pins_beside_lock(self, *, without: Collection[str] = ()) -> tuple[str, ...]:
        """Return :meth:`pins` of the packages that :attr:`lock` does not have."""
        from packaging.utils import canonicalize_name

        if not self.lock:
            return self.pins(without=without)
        locked = {canonicalize_name(name) for name in settled.locked_names(self.lock)}
        names = [
            name
            for name in self.packages()
            if canonicalize_name(name.partition("-")[0]) in locked
        ]
        return self.pins(without=[*without, *names])

    def hashed_pins(self, *, without: Collection[str] = ()) -> tuple[str, ...]:
        """
        Return :meth:`pins`, with the hashes of the files that the index has for each.

        The hashes come from what uv has cached of the index, which is not asked again.
        There are none where the index states none, or a package comes from elsewhere.
        """
        pins = self.pins_beside_lock(without=without)
        versions = [pin for pin in pins if is_version(pin)]
        if not versions:
            return pins
        options, variables = self.settings(refresh=False)
        options += self.target.choice
        options += ["--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
        options += ["--offline", "--quiet", self.write("versions.txt", versions)]
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
            yield from ("-r", self.write("requirements.txt", secret))

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
        options, variables = self.settings(refresh)
        options += [*self.target.choice, *self.target.place]
        options += [] if self.builds else ["--no-build"]
        command = ["pip", "install", *options, *arguments]
        return self.run_uv(command, variables, where=where, quiet=quiet)


def _as_requirement(pin: str) -> Requirement:
    name = re.match(r"[\w.-]+", pin)
    return Requirement(text=pin, form="index", name=name[0] if name else None)
