"""Recipes: a definition, and the machine that it is solved for. From it follow all digests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from fal_core.digests import digest
from fal_core.environments import THIS_PYTHON
from fal_core.reprs import show_fields
from fal_env_conda.building.solutions import Solution, explicit_digest, read_solution
from fal_env_conda.declaring.definitions import Definition
from fal_env_conda.rattling.machines import virtual_packages
from fal_env_conda.rattling.platforms import subdir

if TYPE_CHECKING:
    from fal_core.machines import Machine
    from fal_uv.requirements.entries import Requirement

_VERSION = 1

# What stands for the packages of a question in the keys of this process. It stays what it
# was at first, since a key that changes would separate equal functions.
_known: dict[str, str] = {}


@attrs.frozen(kw_only=True)
class CondaRecipe:
    """
    What tells one environment from another.

    Attributes:
        machine: The machine that runs it. None for the one that builds it.
    """

    __repr__ = show_fields

    definition: Definition
    machine: Machine | None = None

    @property
    def virtual_packages(self) -> tuple[str, ...]:
        """What packages may know of the machine."""
        return virtual_packages(self.machine)

    @property
    def question(self) -> str:
        """
        A digest of all that the choice of packages depends on, apart from the channels'
        contents.
        """
        definition = self.definition
        if definition.lock is not None:
            lock = definition.lock
            told = (_VERSION, lock.text, subdir(), self.virtual_packages)
            return digest(repr(told).encode(), 20)
        parts = (
            _VERSION,
            definition.public_channels,
            definition.specs,
            subdir(),
            self.virtual_packages,
        )
        return digest(repr(parts).encode(), 20)

    @property
    def name(self) -> str:
        """A digest of all that is declared, regardless of which packages are chosen for it."""
        return digest(repr((_VERSION, self.question, *self._rest())).encode(), 20)

    @property
    def key(self) -> str:
        """
        The key of the environment: of the packages that were chosen, as soon as they are,
        with what else is in it and what is known of the machine.
        """
        question = self.question
        packages = _known.get(question)
        if packages is None:
            solution = read_solution(question)
            packages = question if solution is None else explicit_digest(solution)
            _known[question] = packages
        parts = (_VERSION, packages, self.virtual_packages, *self._rest())
        return digest(repr(parts).encode(), 32)

    def prefix_name(self, solution: Solution) -> str:
        """Return the name of the prefix of this environment with the packages of *solution*."""
        parts = (_VERSION, explicit_digest(solution), solution.made, *self._rest())
        return digest(repr(parts).encode(), 16)

    @property
    def summary(self) -> str:
        """What is in it, in a few words."""
        from fal_env_conda.declaring.channels import mask
        from fal_uv.requirements.url_credentials import strip

        definition = self.definition
        pip = (f"pip:{strip(entry)}" for entry in definition.pip)
        python = f"python={definition.python_version or THIS_PYTHON}"
        return " ".join((python, *map(mask, definition.packages), *pip))

    def requirements(self) -> list[Requirement]:
        """Return the parsed pip requirements."""
        if not self.definition.pip:
            return []
        from fal_uv.requirements.entries import parse_entry

        return [parse_entry(entry) for entry in self.definition.pip]

    def _rest(self) -> Iterator[object]:
        yield self.definition.variables
        if self.definition.pip:
            from fal_uv.requirements import url_credentials

            yield [url_credentials.strip(entry) for entry in self.definition.pip]
            yield self.definition.find_indexes().fingerprint()
        named = self._local_requirements()
        if named:
            from fal_uv.requirements.local_sources import digest as contents
            from fal_uv.requirements.local_sources import local_requirements

            yield [contents(entry) for entry in local_requirements(named)]

    def _local_requirements(self) -> list[Requirement]:
        """
        Return the requirements that name a file or project of this machine, those of a lock
        too.
        """
        named = [entry for entry in self.requirements() if entry.path is not None]
        lock = self.definition.lock
        projects = () if lock is None else lock.projects
        if projects:
            from fal_uv.requirements.entries import Requirement

            named += [Requirement(text=path, form="path", path=path) for path in projects]
        return named

    def stamp(self) -> int | None:
        """Return a value that changes with the local projects that it names; None without any."""
        named = self._local_requirements()
        if not named:
            return None
        from fal_uv.requirements.local_sources import local_requirements, stamps

        found = tuple(stamps(local_requirements(named)))
        return hash(found) if found else None


def forget() -> None:
    """Have the keys of this process follow from what is kept on disk now."""
    _known.clear()


def rattler_cache() -> str:
    """Return the directory of rattler's cache, which other programs that use rattler share."""
    own = os.environ.get("RATTLER_CACHE_DIR")
    if own:
        return own
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(usual)
    return os.path.join(caches, "rattler", "cache")


def is_offline() -> bool:
    """Tell whether the user wants no network to be used."""
    from fal_uv.variables import is_set

    return is_set("CONDA_OFFLINE")
