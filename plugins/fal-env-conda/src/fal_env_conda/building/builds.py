"""Builds: packages are chosen, then installed in the prefix where they stay."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError
from fal_core.events import Log, LogSink
from fal_core.stores import file_stamps
from fal_env_conda.building.build_errors import error_of_rattler, without_credentials
from fal_env_conda.building.prefixes import (
    KIND,
    PREFIXES,
    Contents,
    check_place,
    executable_of,
)
from fal_env_conda.building.recipes import CondaRecipe, is_offline, rattler_cache
from fal_env_conda.building.requirements import CHOSEN, install_requirements
from fal_env_conda.building.solutions import File, Solution, keep_solution, read_solution
from fal_env_conda.declaring.channels import (
    Credentials,
    mask,
    strip_all,
)
from fal_env_conda.rattling.platforms import subdir
from fal_env_conda.rattling.processes import Rattler, RattlerError

if TYPE_CHECKING:
    from fal_core.stores import Build
    from fal_env_conda.declaring.lock_files import Lock


#: The questions that this process has answered anew because of the option ``force``.
_forced: set[str] = set()


def forget() -> None:
    """Have the option ``force`` count once more."""
    _forced.clear()


def find_built(recipe: CondaRecipe, *, force: bool = False) -> LocalInterpreter | None:
    """
    Return the interpreter of *recipe*, and mark its prefix as used.

    None if it must be built: it is not there or has a fault, or *force* is set and this
    process has not built it yet.
    """
    question = recipe.question
    solution = None if force and question not in _forced else read_solution(question)
    if solution is None:
        return None
    prefix = PREFIXES.find(recipe.prefix_name(solution))
    return None if prefix is None else _interpreter(prefix)


def is_built(recipe: CondaRecipe, *, force: bool = False) -> bool:
    """Tell whether *recipe* is solved, and its prefix whole; with *force*, by this process."""
    question = recipe.question
    solution = None if force and question not in _forced else read_solution(question)
    return solution is not None and PREFIXES.find_fault(recipe.prefix_name(solution)) is None


def _interpreter(prefix: str) -> LocalInterpreter | None:
    contents = Contents.read(prefix)
    if contents is None:
        return None
    path = [*contents.path, os.environ.get("PATH", os.defpath)]
    variables = {**contents.variables, "PATH": os.pathsep.join(path)}
    return LocalInterpreter(executable_of(prefix), contents.minor_version, variables=variables)


def build(
    recipe: CondaRecipe, sink: LogSink, cancelled: Event, *, force: bool = False
) -> LocalInterpreter:
    """
    Build *recipe*, unless another thread or process does so meanwhile.

    Arguments:
        force: Whether to choose the packages anew, and build another prefix of them, if
            this process has not done so yet. Those who use the old one keep it.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    from fal_uv.installing.installers import BuildLog

    check_place()
    credentials = recipe.definition.credentials
    lines: list[str] = []

    def masked(line: Log) -> None:
        sink(attrs.evolve(line, message=strip_all(line.message, credentials)))

    log = BuildLog(masked)

    def on_line(line: str) -> None:
        lines.append(strip_all(line, credentials))
        log.write(line)

    with Rattler(cancelled, on_line) as rattler:
        worker = _Builder(
            recipe=recipe, rattler=rattler, log=log, lines=lines, credentials=credentials
        )
        prefix = worker.build(sink, cancelled, force=force)
    found = _interpreter(prefix)
    if found is None:
        raise EnvironmentBuildError(
            KIND, "It was removed as soon as it was built. Another program cleans the cache."
        )
    return found


@attrs.define(kw_only=True)
class _Builder:
    recipe: CondaRecipe
    rattler: Rattler
    log: Any
    lines: list[str]
    credentials: tuple[Credentials, ...] = attrs.field(repr=False)

    @property
    def _linked(self) -> bool:
        return any(line.startswith("Running ") for line in self.lines)

    def build(self, sink: LogSink, cancelled: Event, *, force: bool) -> str:
        """Return the prefix of the environment, which is built if it is not there."""
        recipe = self.recipe
        locked = partial(
            PREFIXES.building, log=sink, cancelled=cancelled, terms=self._terms(force=force)
        )
        # Who chooses the packages installs them too, and the others wait for both.
        with locked(recipe.name), self._explained():
            with locked(recipe.question), self._explained():
                solution = self._find_solution(force=force)
            return PREFIXES.find_or_build(
                recipe.prefix_name(solution),
                lambda opened: self._fill(solution, opened),
                log=sink,
                cancelled=cancelled,
                in_place=True,
                summary=recipe.summary,
                terms=self._terms(force=force),
            )

    def _terms(self, *, force: bool) -> tuple[object, ...]:
        """Return what the build depends on that no key has."""
        definition = self.recipe.definition
        settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        files = (
            os.environ.get("RATTLER_AUTH_FILE", ""),
            os.path.expanduser("~/.rattler/credentials.json"),
            *(os.path.join(settings, name, "config.toml") for name in ("rattler", "pixi")),
        )
        return (
            definition.channels,
            definition.pip,
            definition.find_indexes().terms(),
            [attrs.astuple(each) for each in self.credentials],
            file_stamps(files),
            force,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what rattler says into errors of the build, and take credentials out of these."""
        try:
            yield
        except RattlerError as error:
            channels = self.recipe.definition.public_channels
            raise error_of_rattler(
                error.message, self.lines, self.credentials, channels
            ) from error
        except EnvironmentBuildError as error:
            if not self.credentials:
                raise
            raise without_credentials(error, self.credentials) from None

    def _find_solution(self, *, force: bool) -> Solution:
        """Return the packages that were chosen before, or choose them, and keep the choice."""
        question = self.recipe.question
        force = force and question not in _forced
        found = None if force else read_solution(question)
        if found is not None:
            return found
        lock = self.recipe.definition.lock
        found = self._solve() if lock is None else self._read_lock(lock)
        if force:
            found = attrs.evolve(found, made=time.time_ns())
        keep_solution(question, found)
        if force:
            _forced.add(question)
        return found

    def _solve(self) -> Solution:
        definition = self.recipe.definition
        packages = self.recipe.virtual_packages
        self.log.write(f"Solving for {', '.join(map(mask, definition.specs))}")
        records = self.rattler.ask(
            "solve",
            channels=definition.public_channels,
            specs=definition.specs,
            platform=subdir(),
            virtual_packages=packages,
            offline=is_offline(),
            cache=os.path.join(rattler_cache(), "repodata"),
            credentials=self._credentials,
        )
        return Solution(
            records=tuple(records),
            platform=subdir(),
            channels=definition.public_channels,
            virtual_packages=packages,
        )

    def _read_lock(self, lock: Lock) -> Solution:
        packages = self.recipe.virtual_packages
        told = self.rattler.ask(
            "read_lock", text=lock.text, platform=subdir(), virtual_packages=packages
        )
        return Solution(
            records=tuple(told["records"]),
            platform=subdir(),
            channels=tuple(told["channels"]),
            virtual_packages=packages,
            pins=tuple(File(**file).pin for file in told["files"]),
        )

    def _fill(self, solution: Solution, opened: Build) -> None:
        """Install the packages of *solution*, and the pip requirements."""
        with self._explained():
            self._install(solution, opened)

    def _install(self, solution: Solution, opened: Build) -> None:
        version = solution.python_version
        if version is None:
            raise EnvironmentBuildError(KIND, "The packages that were chosen have no Python.")
        prefix = opened.directory
        self.log.write(f"Installing {len(solution.records)} packages")
        try:
            self.rattler.ask(
                "install",
                records=solution.archives,
                prefix=prefix,
                platform=solution.platform,
                offline=is_offline(),
                cache=os.path.join(rattler_cache(), "pkgs"),
                credentials=self._credentials,
            )
        except RattlerError as error:
            if PREFIXES.read_build(opened.key) is None:
                # The channel may have others by now.
                PREFIXES.forget_solution(self.recipe.question)
                raise
            raise RattlerError(error.name, f"{error.message.rstrip('.')}. {CHOSEN}") from error
        self._tell_scripts(prefix)
        activated = self._activate(prefix, solution)
        install_requirements(
            self.recipe, solution, opened, log=self.log, credentials=self.credentials
        )
        names = os.listdir(os.path.join(prefix, "conda-meta"))
        contents = Contents(
            python_version=version,
            path=tuple(activated["path"]),
            variables=activated["variables"],
            packages=tuple(sorted(name for name in names if name.endswith(".json"))),
        )
        contents.write(prefix)

    def _tell_scripts(self, prefix: str) -> None:
        """Warn of scripts of packages that were not run, since nothing allows them."""
        scripts = glob.glob(os.path.join(glob.escape(prefix), "bin", ".*-post-link.sh"))
        names = [os.path.basename(path)[1:].removesuffix("-post-link.sh") for path in scripts]
        if names and not self._linked:
            self.log.write(
                f"warning: The script that {', '.join(sorted(names))} would have run after its "
                "installation was not run. If you trust it, write 'run-post-link-scripts = "
                '"insecure"\' to ~/.config/rattler/config.toml.'
            )

    def _activate(self, prefix: str, solution: Solution) -> dict[str, Any]:
        """Return what activating *prefix* sets, its packages' scripts included."""
        variables = dict(self.recipe.definition.variables)
        scripts = os.path.join(prefix, "etc", "conda", "activate.d")
        settings = os.path.join(prefix, "etc", "conda", "env_vars.d")
        if os.path.isdir(scripts) or os.path.isdir(settings):
            activated: dict[str, Any] = self.rattler.ask(
                "activate",
                prefix=prefix,
                variables=variables,
                platform=solution.platform,
            )
            return activated
        return {
            "variables": {"CONDA_PREFIX": prefix, **variables},
            "path": [os.path.join(prefix, "bin")],
        }

    @property
    def _credentials(self) -> list[dict[str, Any]]:
        return [attrs.asdict(each) for each in self.credentials]
