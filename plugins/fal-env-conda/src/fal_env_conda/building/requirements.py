"""Requirements of pip, which uv installs into a prefix beside conda's packages."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from fal_core.errors import EnvironmentBuildError
from fal_core.facts import with_facts
from fal_env_conda.building.prefixes import KIND, PREFIXES, Built, executable_of, library_of
from fal_env_conda.building.recipes import CondaRecipe, is_offline
from fal_env_conda.building.solutions import File, Solution
from fal_env_conda.declaring.channels import Credentials, add_credentials

if TYPE_CHECKING:
    from fal_core.stores import Build
    from fal_uv.installing.installers import BuildLog, Installer

#: What to do where a prefix that was lost cannot be built again.
CHOSEN = "The packages are those that were chosen first; force=True chooses them anew."

#: The directory or file that describes an installed package.
_DESCRIBED = re.compile(r"([^-]+)-([^-]+)(?:-py\d[\d.]*)?\.(?:dist|egg)-info")


def install_requirements(
    recipe: CondaRecipe,
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
    """Return a requirement of its version for each package in *library*."""
    found = map(_DESCRIBED.fullmatch, sorted(os.listdir(library)))
    return [f"{each[1]}=={each[2]}" for each in found if each is not None]


_ORIGIN = "direct_url.json"


def install_wheels(
    wheels: Iterable[File], installer: Installer, credentials: Iterable[Credentials]
) -> None:
    """
    Install *wheels*, which are fetched with *credentials*, and nothing that they need.

    Raises:
        EnvironmentBuildError: uv failed; the error says why.

        Cancelled: The build was cancelled.
    """
    known = tuple(credentials)
    located = [
        attrs.evolve(each, location=add_credentials(each.location, known)) for each in wheels
    ]
    before = _origins(installer.target.library)
    installer.install_pins([each.pin for each in located])
    for path in _origins(installer.target.library) - before:
        _forget_origin(path)


def _origins(library: str) -> set[str]:
    return set(glob.glob(os.path.join(glob.escape(library), "*.dist-info", _ORIGIN)))


def _forget_origin(path: str) -> None:
    """Have a wheel count as a version like any other: what uv notes of its URL may hold a token."""
    os.remove(path)
    record = os.path.join(os.path.dirname(path), "RECORD")
    with open(record, encoding="utf-8") as stream:
        kept = [line for line in stream if f"/{_ORIGIN}," not in line]
    # uv may have linked the file to its cache, and so it is replaced.
    os.remove(record)
    with open(record, "w", encoding="utf-8") as stream:
        stream.writelines(kept)
