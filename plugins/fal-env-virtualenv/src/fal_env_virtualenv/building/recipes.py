"""
Recipes: what an environment is built from. Those with equal keys share one.

Most recipes name nothing of this machine, and fit the running Python. What only the
others need is imported for them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from fal_core import digests
from fal_core.reprs import show_fields
from fal_env_virtualenv.store.environments import STORE
from fal_uv.installing.indexes import Choices, Indexes, find_indexes
from fal_uv.requirements import url_credentials
from fal_uv.requirements.pythons import Python, running_python

if TYPE_CHECKING:
    from fal_uv.requirements.entries import Layers, Requirement

_VERSION = 1

#: The directory of a project, its groups and extras, and whether its lock is frozen.
ProjectOptions = tuple[str, tuple[str, ...], tuple[str, ...], bool]


@attrs.frozen(kw_only=True)
class Recipe:
    """
    The options that tell one environment from another.

    Attributes:
        layers: Requirement entries, with absolute paths.

        python_version: As in ``3.11``. None for the version of the launching Python.

        constraints_file: An absolute path, if there is one.

        project: What is installed before the first layer.

        tags: Words that keep this environment apart from otherwise equal ones.
    """

    __repr__ = show_fields

    layers: Layers = ()
    python_version: str | None = None
    constraints_file: str | None = None
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    torch_backend: str | None = None
    exclude_newer: str | None = None
    project: ProjectOptions | None = None
    compile_bytecode: bool = False
    tags: tuple[str, ...] = ()

    def requirements(self) -> Iterator[Requirement]:
        """
        Yield the parsed entries of all layers.
        """
        return (entry for layer in self.parsed_layers() for entry in layer)

    def local_requirements(self) -> list[Requirement]:
        """
        Return the parsed entries that name a file or a project of this machine.
        """
        return [entry for entry in self.requirements() if entry.path is not None]

    def parsed_layers(self) -> Iterator[list[Requirement]]:
        """
        Yield the parsed entries of each layer. The project comes first.
        """
        if not self.layers and self.project is None:
            return
        from fal_uv.requirements.entries import of_project, parse_entry

        if self.project is not None:
            from fal_uv.requirements.settled import Settled

            path, groups, extras, frozen = self.project
            project = Settled(
                form="project", path=path, groups=groups, extras=extras, frozen=frozen
            )
            yield [of_project(project)]
        yield from ([parse_entry(entry) for entry in layer] for layer in self.layers)

    def indexes(self) -> Indexes:
        """
        Return the indexes that the packages come from.
        """
        return find_indexes(
            self.extra_index_urls,
            default=self.index_url,
            choices=Choices(exclude_newer=self.exclude_newer, torch_backend=self.torch_backend),
        )


def environment_key(recipe: Recipe) -> str:
    """
    Return the key of *recipe*, given the Python, indexes and local files of this machine.

    Raises:
        UnknownNameError: There is no Python of the version that *recipe* asks for.
    """
    python = _find_python(recipe.python_version)
    parts = (
        _VERSION,
        [[url_credentials.strip(entry) for entry in layer] for layer in recipe.layers],
        # A build without a GIL needs other wheels.
        (python.executable, python.version + python.abiflags),
        platform_name(),
        recipe.indexes().fingerprint(),
        recipe.compile_bytecode,
        recipe.tags,
        list(_contents(recipe)),
        # Others have the key that they had before there were projects.
        *(() if recipe.project is None else (recipe.project,)),
    )
    return digests.digest(repr(parts).encode(), 32)


def environment_stamp(recipe: Recipe) -> int | None:
    """
    Return a value that changes with the local projects and files that *recipe* names.

    It is None if *recipe* names none.
    """
    named = recipe.local_requirements()
    if not named:
        return None
    from fal_uv.requirements.local_sources import local_requirements, stamps

    found = tuple(stamps(local_requirements(named)))
    return hash(found) if found else None


def platform_name() -> str:
    """
    Return what wheels depend on apart from the interpreter: system, machine, C library.
    """
    machine = os.uname().machine
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        library = None
    return f"{sys.platform}-{machine}-{library or ''}"


def _find_python(version: str | None) -> Python:
    running = running_python()
    if version is None or running.fits(version):
        return running
    from fal_uv.installing.interpreters import find_python

    return find_python(version, STORE.root)


def _contents(recipe: Recipe) -> Iterator[str]:
    named = recipe.local_requirements()
    if not named and recipe.constraints_file is None:
        return
    from fal_uv.requirements.local_sources import (
        digest,
        file_digest,
        local_requirements,
    )

    for requirement in local_requirements(named):
        yield digest(requirement)
    if recipe.constraints_file is not None:
        yield file_digest(recipe.constraints_file)
