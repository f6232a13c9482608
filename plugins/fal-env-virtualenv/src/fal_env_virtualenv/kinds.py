"""
The kind ``virtualenv``: its options, and how it is found or built.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from fal_core.abilities import LockingEnvironment
from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_uv.fields import Layers, masked_repr, to_absolute_path, to_layers, to_texts

if TYPE_CHECKING:
    from fal_core.events import LogSink
    from fal_env_virtualenv.building.recipes import ProjectOptions, Recipe

# Imports inside functions: every program that declares a function of whatever kind imports
# this module, and few of them write requirements.


@attrs.frozen(kw_only=True)
class Virtualenv(Environment, LockingEnvironment):
    """
    A virtual environment with *requirements* installed, built by uv.

    Attributes:
        requirements: Entries, or layers of entries: each layer is installed after the
            one before it, and changes nothing there. An entry is a package with
            versions, a URL as in ``git+https://…``, a local project as in
            ``./project`` or ``-e ./project``, or a file that lists requirements, as in
            ``requirements.txt``, ``pyproject.toml``, a program with inline metadata, or a
            ``pylock.toml``, whose files are installed with the hashes that it has. In place
            of a list, ``SCRIPT`` stands for the file that the function is written in.

        python_version: As in ``3.11``, bounds as in ``>=3.12``, or the path of a file
            ``.python-version``. None for the version of the launching Python, or another one
            of this machine if the files in *requirements* or the project exclude that.

        project: The directory of a project with a ``uv.lock``, which is installed as that
            says, with the projects of its workspace that it needs. It is editable.

        groups: Groups of dependencies of the project, beside its own dependencies.

        extras: Optional dependencies of the project.

        frozen: Use the ``uv.lock`` of the project though its ``pyproject.toml`` asks for
            something else by now.

        resolver: Has no effect, as uv resolves in either case. ``pip`` is accepted
            because declarations written for other builders have it.

        force: Resolve and build anew, once in each process.

        compile_bytecode: Compile what is installed, for a faster first import.

        constraints_file: A file of versions that what is installed must have.

        index_url: The index in place of the usual default one.

        extra_index_urls: Indexes that are searched before the usual ones.

        torch_backend: Which builds of PyTorch are taken: ``auto`` for what this machine has,
            or one of uv's names, as in ``cpu`` or ``cu128``.

        exclude_newer: A date, or how long ago, as in ``7 days``. Nothing that was published
            later is installed.

        tags: Words that keep this environment apart from otherwise equal ones.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "virtualenv"
    lock_name: ClassVar[str] = "pylock.toml"

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
    index_url: str | None = attrs.field(default=None, repr=masked_repr)
    extra_index_urls: tuple[str, ...] = attrs.field(
        default=(), converter=to_texts, repr=masked_repr
    )
    torch_backend: str | None = None
    exclude_newer: str | None = None
    project: str | os.PathLike[str] | None = attrs.field(
        default=None, converter=to_absolute_path
    )
    groups: tuple[str, ...] = attrs.field(default=(), converter=to_texts)
    extras: tuple[str, ...] = attrs.field(default=(), converter=to_texts)
    frozen: bool = False
    tags: tuple[str, ...] = attrs.field(default=(), converter=to_texts)

    def __attrs_post_init__(self) -> None:
        files = [entry for layer in self.layers for entry in layer if entry.startswith("-r ")]
        if files or self.project is not None or self._is_chosen():
            from fal_env_virtualenv.building.recipe_checks import check_recipe

            # The core reads the version before anything is built.
            object.__setattr__(self, "python_version", check_recipe(self.recipe))
        if self.project is None and (self.groups or self.extras or self.frozen):
            raise OptionError(
                "Options 'groups', 'extras' and 'frozen' are of a project. Name it with "
                "project='.'."
            )
        if self.python_version is not None:
            from fal_uv.installing.interpreters import check_version

            check_version(self.python_version)
        if self.resolver not in (None, "uv", "pip"):
            raise OptionError(
                f"Option 'resolver' must be 'uv' or 'pip', not {self.resolver!r}."
            )
        if self.constraints_file is not None and not os.path.isfile(self.constraints_file):
            raise OptionError(
                f"Option 'constraints_file' names {self.constraints_file}, "
                "but there is no such file."
            )

    def _is_chosen(self) -> bool:
        """
        Tell whether options are set that few declarations have.
        """
        version = self.python_version
        return (
            self.torch_backend is not None
            or self.exclude_newer is not None
            or (version is not None and not version.strip()[:1].isdigit())
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
            index_url=self.index_url,
            extra_index_urls=self.extra_index_urls,
            torch_backend=self.torch_backend,
            exclude_newer=self.exclude_newer,
            project=self._project_options(),
            compile_bytecode=self.compile_bytecode,
            tags=self.tags,
        )

    def _project_options(self) -> ProjectOptions | None:
        if self.project is None:
            return None
        path = os.fspath(self.project)
        if os.path.basename(path) == "pyproject.toml":
            path = os.path.dirname(path)
        return (path, self.groups, self.extras, self.frozen)

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

    def definition(self) -> dict[str, Any] | None:
        for name in ("project", "index_url", "torch_backend", "exclude_newer"):
            if getattr(self, name) is not None:
                raise OptionError(
                    f"Option {name!r} is not for a service that builds the environment itself."
                    " Leave it out there, or use another host."
                )
        if any(entry.startswith("-r ") for layer in self.layers for entry in layer):
            from fal_uv.requirements.entries import check_for_service

            check_for_service(self.layers)
        return None

    def lock(self, log: LogSink, cancelled: Event) -> Mapping[str, str]:
        from fal_env_virtualenv.building.locks import lock

        return {"": lock(self.recipe, self.key, log, cancelled, force=self.force)}

    def extend(self, requirements: Iterable[str]) -> Virtualenv:
        return attrs.evolve(self, requirements=(*self.layers, tuple(requirements)))
