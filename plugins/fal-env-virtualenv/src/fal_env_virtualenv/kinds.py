"""
The kind ``virtualenv``: its options, and how it is found or built.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from threading import Event
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_uv.fields import Layers, masked_repr, to_absolute_path, to_layers, to_texts

if TYPE_CHECKING:
    from fal_core.events import LogSink
    from fal_env_virtualenv.building.recipes import Recipe

# Imports inside functions: every program that declares a function of whatever kind imports
# this module, and few of them write requirements.


@attrs.frozen(kw_only=True)
class Virtualenv(Environment):
    """
    A virtual environment with *requirements* installed, built by uv.

    Attributes:
        requirements: Entries, or layers of entries: each layer is installed after the
            one before it, and changes nothing there. An entry is a package with
            versions, a URL as in ``git+https://…``, a local project as in
            ``./project`` or ``-e ./project``, or a file that lists requirements, as in
            ``requirements.txt``, ``pyproject.toml`` or a program with inline metadata.

        python_version: As in ``3.11``. None for the version of the launching Python.

        resolver: Has no effect, as uv resolves in either case. ``pip`` is accepted
            because declarations written for other builders have it.

        force: Resolve and build anew, once in each process.

        compile_bytecode: Compile what is installed, for a faster first import.

        constraints_file: A file of versions that what is installed must have.

        extra_index_urls: Indexes that are searched before the usual ones.

        tags: Words that keep this environment apart from otherwise equal ones.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "virtualenv"

    requirements: tuple[str, ...] | Layers = attrs.field(
        default=(), converter=to_layers, repr=masked_repr
    )
    python_version: str | None = None
    resolver: Literal["uv", "pip"] | None = None
    force: bool = False
    compile_bytecode: bool = False
    constraints_file: str | os.PathLike[str] | None = attrs.field(
        default=None, converter=to_absolute_path
    )
    extra_index_urls: tuple[str, ...] = attrs.field(
        default=(), converter=to_texts, repr=masked_repr
    )
    tags: tuple[str, ...] = attrs.field(default=(), converter=to_texts)

    def __attrs_post_init__(self) -> None:
        if self.python_version is not None:
            from fal_uv.installing.interpreters import check_version

            check_version(self.python_version)
        files = [entry for layer in self.layers for entry in layer if entry.startswith("-r ")]
        if files:
            from fal_uv.requirements.python_bounds import check_bounds

            check_bounds(files, self.python_version)
        if self.resolver not in (None, "uv", "pip"):
            raise OptionError(
                f"Option 'resolver' must be 'uv' or 'pip', not {self.resolver!r}."
            )
        if self.constraints_file is not None and not os.path.isfile(self.constraints_file):
            raise OptionError(
                f"Option 'constraints_file' names {self.constraints_file}, "
                "but there is no such file."
            )

    @property
    def layers(self) -> Layers:
        """
        The requirements as layers, even if they were declared without.
        """
        entries = tuple(each for each in self.requirements if isinstance(each, str))
        layers = tuple(each for each in self.requirements if not isinstance(each, str))
        return (entries,) if entries else layers

    @property
    def recipe(self) -> Recipe:
        """
        The options that tell this environment from others.
        """
        from fal_env_virtualenv.building.recipes import Recipe

        constraints = self.constraints_file
        return Recipe(
            layers=self.layers,
            python_version=self.python_version,
            constraints_file=None if constraints is None else os.fspath(constraints),
            extra_index_urls=self.extra_index_urls,
            compile_bytecode=self.compile_bytecode,
            tags=self.tags,
        )

    @property
    def key(self) -> str:
        from fal_env_virtualenv.building.recipes import environment_key

        return environment_key(self.recipe)

    def is_built(self) -> bool:
        from fal_env_virtualenv.store.environments import find_fault, forced, read_record

        key = self.key
        record = read_record(key)
        if record is None or find_fault(record) is not None:
            return False
        return not self.force or key in forced

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        from fal_env_virtualenv.store.environments import find_built

        key = self.key
        found = find_built(key, force=self.force)
        if found is not None:
            return found
        from fal_env_virtualenv.building.builds import build

        return build(self.recipe, key, log, cancelled, force=self.force)

    def stamp(self) -> object:
        from fal_env_virtualenv.building.recipes import environment_stamp

        return environment_stamp(self.recipe)

    def extend(self, requirements: Iterable[str]) -> Virtualenv:
        return attrs.evolve(self, requirements=(*self.layers, tuple(requirements)))
