"""
Builds: packages are chosen, then installed in the prefix where they stay.
"""

from __future__ import annotations

import glob
import os
import tempfile
import time
from threading import Event
from typing import Any

import attrs

from fal_core.environments import LocalInterpreter
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import LogSink
from fal_env_conda.building.prefixes import Contents, Prefix, conda_root, locked, sweep
from fal_env_conda.building.recipes import KIND, Recipe, is_offline, rattler_cache
from fal_env_conda.building.solutions import Solution, keep_solution, read_solution
from fal_env_conda.declaring.channels import find_credentials, strip_all
from fal_env_conda.rattling.processes import Rattler, RattlerError


def find_built(recipe: Recipe) -> LocalInterpreter | None:
    """
    Return the interpreter of *recipe*, and mark its prefix as used. None if it must be built.
    """
    solution = read_solution(recipe.question)
    return None if solution is None else _take(recipe.prefix(solution))


def _take(prefix: Prefix) -> LocalInterpreter | None:
    contents = prefix.take()
    if contents is None:
        return None
    variables = dict(contents.variables)
    path = [*contents.path, os.environ.get("PATH", os.defpath)]
    variables["PATH"] = os.pathsep.join(path)
    minor = ".".join(contents.python_version.split(".")[:2])
    return LocalInterpreter(prefix.executable, minor, variables=variables)


def build(recipe: Recipe, sink: LogSink, cancelled: Event) -> LocalInterpreter:
    """
    Build *recipe*, unless another thread or process does so meanwhile.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    from fal_uv.installing.installers import BuildLog

    credentials = find_credentials(recipe.definition.channels)
    log = BuildLog(sink)
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(strip_all(line, credentials))
        log.write(lines[-1])

    def on_wait() -> None:
        log.write("Waiting for another build of this environment")

    with Rattler(cancelled, on_line) as rattler:
        worker = _Build(
            recipe=recipe, rattler=rattler, log=log, lines=lines, cancelled=cancelled
        )
        try:
            conda_root(make=True)
            with locked(recipe.question, cancelled, on_wait):
                solution = read_solution(recipe.question) or worker.solve()
                prefix = recipe.prefix(solution)
                with locked(prefix.name, cancelled, on_wait):
                    found = _take(prefix)
                    if found is None:
                        worker.install(solution, prefix)
                        found = _take(prefix)
        except RattlerError as error:
            reason = strip_all(error.message, credentials).strip()
            raise EnvironmentBuildError(KIND, reason, None, tuple(lines[-20:]), ()) from error
        except OSError as error:
            where = "" if error.filename is None else f": {error.filename}"
            raise EnvironmentBuildError(
                KIND,
                f"{error.strerror or error}{where}. If the disk is full, free some space; "
                "FAL_CORE_CACHE and RATTLER_CACHE_DIR name other directories.",
            ) from error
    if found is None:
        raise EnvironmentBuildError(
            KIND, "It was removed as soon as it was built. Another program cleans the cache."
        )
    return found


@attrs.define(kw_only=True)
class _Build:
    recipe: Recipe
    rattler: Rattler
    log: Any
    lines: list[str]
    cancelled: Event

    @property
    def _linked(self) -> bool:
        return any(line.startswith("Running ") for line in self.lines)

    def solve(self) -> Solution:
        """
        Choose the packages, and keep the choice.
        """
        definition = self.recipe.definition
        packages = self.recipe.virtual_packages
        self.log.write(f"Solving for {', '.join(definition.specs)}")
        records = self.rattler.ask(
            "solve",
            channels=definition.public_channels,
            specs=definition.specs,
            platform=Rattler.subdir(),
            virtual_packages=packages,
            offline=is_offline(),
            cache=os.path.join(rattler_cache(), "repodata"),
            credentials=self._credentials,
        )
        solution = Solution(
            records=tuple(records),
            platform=Rattler.subdir(),
            channels=definition.public_channels,
            virtual_packages=packages,
        )
        keep_solution(self.recipe.question, solution)
        return solution

    def install(self, solution: Solution, prefix: Prefix) -> None:
        """
        Install the packages of *solution* in *prefix*, whose lock is held.
        """
        sweep()
        prefix.discard()
        os.makedirs(prefix.directory)
        try:
            self._fill(solution, prefix)
        except Cancelled:
            prefix.discard(aside=True)
            raise
        except BaseException:
            prefix.discard()
            raise

    def _fill(self, solution: Solution, prefix: Prefix) -> None:
        version = solution.python_version
        if version is None:
            raise EnvironmentBuildError(KIND, "The packages that were chosen have no Python.")
        self.log.write(f"Installing {len(solution.records)} packages")
        self.rattler.ask(
            "install",
            records=solution.records,
            prefix=prefix.directory,
            platform=solution.platform,
            offline=is_offline(),
            cache=os.path.join(rattler_cache(), "pkgs"),
            credentials=self._credentials,
        )
        self._tell_scripts(prefix)
        activated = self._activate(prefix, solution)
        pins = self._install_requirements(prefix, version)
        if self.cancelled.is_set():
            raise Cancelled("The call was cancelled while its environment was being built.")
        names = os.listdir(os.path.join(prefix.directory, "conda-meta"))
        contents = Contents(
            python_version=version,
            path=tuple(activated["path"]),
            variables=activated["variables"],
            packages=tuple(sorted(name for name in names if name.endswith(".json"))),
            pins=pins,
            created=time.time(),
        )
        prefix.finish(contents)

    def _tell_scripts(self, prefix: Prefix) -> None:
        """
        Warn of scripts of packages that were not run, since nothing allows them.
        """
        scripts = glob.glob(
            os.path.join(glob.escape(prefix.directory), "bin", ".*-post-link.sh")
        )
        names = [os.path.basename(path)[1:].removesuffix("-post-link.sh") for path in scripts]
        if names and not self._linked:
            self.log.write(
                f"warning: The script that {', '.join(sorted(names))} would have run after its "
                "installation was not run. If you trust it, write 'run-post-link-scripts = "
                '"insecure"\' to ~/.config/rattler/config.toml.'
            )

    def _activate(self, prefix: Prefix, solution: Solution) -> dict[str, Any]:
        """
        Return what activating *prefix* sets, its packages' scripts included.
        """
        variables = dict(self.recipe.definition.variables)
        scripts = os.path.join(prefix.directory, "etc", "conda", "activate.d")
        settings = os.path.join(prefix.directory, "etc", "conda", "env_vars.d")
        if os.path.isdir(scripts) or os.path.isdir(settings):
            activated: dict[str, Any] = self.rattler.ask(
                "activate",
                prefix=prefix.directory,
                variables=variables,
                platform=solution.platform,
            )
            return activated
        return {
            "variables": {"CONDA_PREFIX": prefix.directory, **variables},
            "path": [os.path.join(prefix.directory, "bin")],
        }

    def _install_requirements(self, prefix: Prefix, version: str) -> tuple[str, ...]:
        """
        Install the pip requirements, and return what they brought.
        """
        requirements = self.recipe.requirements()
        if not requirements:
            return ()
        from fal_uv.installing.installers import Installer
        from fal_uv.installing.targets import Target

        with tempfile.TemporaryDirectory() as workspace:
            installer = Installer(
                kind=KIND,
                target=Target.of_python(prefix.executable, prefix.library(version)),
                workspace=workspace,
                indexes=_indexes(),
                log=self.log,
                cancelled=self.cancelled,
            )
            # What conda installed keeps its versions: it is there before.
            of_conda = installer.packages()
            installer.install(requirements)
            return installer.hashed_pins(without=of_conda)

    @property
    def _credentials(self) -> list[dict[str, Any]]:
        found = find_credentials(self.recipe.definition.channels)
        return [attrs.asdict(each) for each in found]


def _indexes() -> Any:
    from fal_uv.installing.indexes import find_indexes

    found = find_indexes().with_default(conda_root())
    if not is_offline():
        return found
    return attrs.evolve(found, variables={**found.variables, "UV_OFFLINE": "1"})


def is_built(recipe: Recipe) -> bool:
    """
    Tell whether *recipe* is solved, and its prefix whole.
    """
    solution = read_solution(recipe.question)
    return solution is not None and recipe.prefix(solution).read() is not None
