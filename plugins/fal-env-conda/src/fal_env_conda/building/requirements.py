"""
Requirements of pip, which uv installs into a prefix beside conda's packages.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from fal_core.errors import EnvironmentBuildError
from fal_core.facts import with_facts
from fal_env_conda.building.prefixes import KIND, PREFIXES, Built, executable_of, library_of
from fal_env_conda.building.recipes import Recipe, is_offline
from fal_env_conda.building.solutions import Solution
from fal_env_conda.building.wheels import install_wheels
from fal_env_conda.declaring.channels import Credentials

if TYPE_CHECKING:
    from fal_core.stores import Build
    from fal_uv.installing.installers import BuildLog

#: What to do where a prefix that was lost cannot be built again.
CHOSEN = "The packages are those that were chosen first; force=True chooses them anew."

#: The directory or file that describes an installed package.
_DESCRIBED = re.compile(r"([^-]+)-([^-]+)(?:-py\d[\d.]*)?\.(?:dist|egg)-info")


def install_requirements(
    recipe: Recipe,
    solution: Solution,
    opened: Build,
    *,
    log: BuildLog,
    credentials: tuple[Credentials, ...],
) -> None:
    """
    Install the wheels of channels and the pip requirements, and keep what they brought: a
    prefix that is lost gets the same again.

    Arguments:
        credentials: Those of the channels.

    Raises:
        EnvironmentBuildError: uv failed; the error says why.

        Cancelled: The build was cancelled.
    """
    requirements = recipe.requirements()
    locked = solution.pins
    question = recipe.question
    if not requirements and not locked and not solution.wheels:
        PREFIXES.keep_build(opened.key, Built(question=question, pins=()))
        return
    from fal_uv.installing.installers import Installer
    from fal_uv.installing.pins import with_known_hashes
    from fal_uv.installing.targets import Target

    prefix = opened.directory
    library = library_of(prefix, solution.python_version or "")
    installer = Installer(
        kind=KIND,
        target=Target.of_python(executable_of(prefix), library),
        workspace=opened.workspace,
        indexes=recipe.definition.find_indexes(offline=is_offline()).with_default(
            PREFIXES.root
        ),
        log=log,
        cancelled=opened.cancelled,
        temporary=opened.workspace,
    )
    if solution.wheels:
        install_wheels(solution.wheels, installer, credentials)
    # What the channels have keeps its versions: it is there before.
    of_conda = installer.packages()
    known = PREFIXES.read_build(opened.key)
    if known is not None:
        try:
            installer.install_pins(known.pins)
        except EnvironmentBuildError as error:
            raise with_facts(error, reason=f"{error.reason} {CHOSEN}") from error
        return
    if locked:
        installer.install_pins(locked)
    refresh = solution.made is not None
    installer.install(requirements, constraints=_versions_in(library), refresh=refresh)
    pins = with_known_hashes(installer.hashed_pins(without=of_conda), locked)
    PREFIXES.keep_build(opened.key, Built(question=question, pins=pins))


def _versions_in(library: str) -> list[str]:
    """
    Return a requirement of its version for each package in *library*.
    """
    found = map(_DESCRIBED.fullmatch, sorted(os.listdir(library)))
    return [f"{each[1]}=={each[2]}" for each in found if each is not None]
