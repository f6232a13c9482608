"""The kind ``conda``: its options, and how it is found or built."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from fal_core.abilities import LockingEnvironment
from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError, OptionTypeError
from fal_core.reprs import show_fields
from fal_uv.fields import masked_repr, refuse_for_service, to_absolute_path, to_texts

if TYPE_CHECKING:
    from fal_core.events import LogSink
    from fal_core.machines import Machine
    from fal_env_conda.building.recipes import CondaRecipe
    from fal_env_conda.declaring.definitions import Definition
    from fal_env_conda.declaring.environment_files import EnvironmentFile

# Imports inside functions: every program that declares a function of any kind imports
# this module.

_FILES = ("env_dict", "env_yml", "env_yml_str")
#: How the files end that *packages* may name.
_OF_FILES = (".yml", ".yaml", ".lock")


def _to_texts(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else to_texts(texts, show=_masked)


def _to_entries(requirements: Iterable[str] | None) -> tuple[str, ...] | None:
    texts = _to_texts(requirements)
    if not texts:
        return texts
    from fal_env_conda.declaring.definitions import to_entry
    from fal_uv.requirements.flags import with_values

    return tuple(map(to_entry, with_values(texts)))


def _masked(value: object) -> str:
    from fal_env_conda.declaring.channels import mask

    return mask(repr(value))


@attrs.frozen(kw_only=True)
class Conda(Environment, LockingEnvironment):
    """
    A conda environment, solved and installed by rattler.

    One of *packages*, *env_dict*, *env_yml* and *env_yml_str* says which packages it has.

    Attributes:
        python_version: As in ``3.11``. None for the one that the packages ask for, or that of
            the launching Python.

        env_dict: What an ``environment.yml`` says, as a dict.

        env_yml: The path of an ``environment.yml``, or of a lock: a ``pixi.lock``, or what
            ``fal-core env lock`` has written. It is read at the declaration.

        env_yml_str: The text of such a file.

        packages: As conda writes them, as in ``numpy>=2`` or ``conda-forge::numpy``. One
            that is the name of an ``environment.yml`` or a lock stands for *env_yml*.

        pip: Requirements that uv installs, with what conda installed as constraints.

        index_url: The index for *pip* in place of the usual default one.

        extra_index_urls: Indexes for *pip* that are searched before the usual ones.

        torch_backend: Which builds of PyTorch *pip* takes: ``auto`` for what this machine has,
            or one of uv's names, as in ``cpu`` or ``cu128``.

        channels: Names, URLs or folders, after those of the environment file. By default
            ``conda-forge``.

        force: Choose the packages and build anew, once in each process. A service that
            builds the environment itself is not told.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "conda"
    lock_name: ClassVar[str] = "conda.lock"

    python_version: str | None = None
    env_dict: Mapping[str, Any] | None = attrs.field(default=None, hash=False, repr=_masked)
    env_yml: str | os.PathLike[str] | None = attrs.field(
        default=None, converter=to_absolute_path
    )
    env_yml_str: str | None = attrs.field(default=None, repr=_masked)
    packages: tuple[str, ...] | None = attrs.field(
        default=None, converter=_to_texts, repr=_masked
    )
    pip: tuple[str, ...] | None = attrs.field(default=None, converter=_to_entries, repr=_masked)
    index_url: str | None = attrs.field(default=None, repr=masked_repr)
    extra_index_urls: tuple[str, ...] = attrs.field(
        default=(), converter=to_texts, repr=masked_repr
    )
    torch_backend: str | None = None
    channels: tuple[str, ...] | None = attrs.field(
        default=None, converter=_to_texts, repr=_masked
    )
    force: bool = False
    # A definition, and a machine or None. The core reads annotations, and these are of
    # modules that declarations alone import.
    _definition: Any = attrs.field(init=False, repr=False, eq=False)
    _machine: Any = attrs.field(init=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        from fal_env_conda.declaring.definitions import define

        self._take_file()
        given = [name for name in (*_FILES, "packages") if getattr(self, name) is not None]
        if len(given) > 1:
            names = " and ".join(repr(name) for name in given)
            raise OptionError(
                f"Options {names} both say which packages there are. Use one of them."
            )
        file = self._read()
        definition = define(
            file,
            python_version=self.python_version,
            packages=self.packages or (),
            pip=self.pip or (),
            channels=self.channels or (),
        )
        if self.torch_backend is not None:
            from fal_uv.installing.request_checks import check_torch_backend

            check_torch_backend(self.torch_backend)
        definition = attrs.evolve(
            definition,
            indexes=(*definition.indexes, *self.extra_index_urls),
            index_url=self.index_url,
            torch_backend=self.torch_backend,
        )
        self._check_pip(definition)
        # The core reads the version before anything is built. The rest travels as values: a
        # file may be none where the environment is built, or another one.
        for name, value in self._as_values(file, definition.python_version).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_definition", definition)

    def _check_pip(self, definition: Definition) -> None:
        """Check that options for *pip* have something that they are about."""
        if definition.pip:
            return
        for name in ("index_url", "extra_index_urls", "torch_backend"):
            if getattr(self, name):
                raise OptionError(
                    f"Option {name!r} is about requirements of option 'pip', and there are "
                    "none. Leave it out."
                )

    def _take_file(self) -> None:
        """
        Take the file that *packages* name as *env_yml*.

        Raises:
            OptionError: There are other packages beside it, or there is no such file.
        """
        named = [each for each in self.packages or () if each.strip().endswith(_OF_FILES)]
        if not named:
            return
        if len(self.packages or ()) > 1:
            raise OptionError(
                f"Option 'packages' names the file {named[0]!r} beside packages. Write "
                "packages into the file, or use env_yml and pip."
            )
        object.__setattr__(self, "packages", None)
        object.__setattr__(self, "env_yml", to_absolute_path(named[0].strip()))

    def _as_values(self, file: EnvironmentFile, version: str | None) -> dict[str, Any]:
        from fal_env_conda.declaring.definitions import without_python

        values: dict[str, Any] = {"python_version": version, "env_yml": None}
        if file.lock is not None:
            return {**values, "env_yml_str": file.lock.text}
        if file.loaded is not None:
            # Who wrote the dict may go on to use it.
            loaded = deepcopy(dict(file.loaded))
            if listed := loaded.get("dependencies"):
                texts = [each for each in listed if isinstance(each, str)]
                kept = without_python(texts)
                others = [each for each in listed if not isinstance(each, str)]
                loaded["dependencies"] = [*kept, *others]
            values |= {"env_dict": loaded, "env_yml_str": None}
        if self.packages is not None:
            values["packages"] = without_python(self.packages)
        return values

    def _read(self) -> EnvironmentFile:
        from fal_env_conda.declaring.environment_files import (
            EnvironmentFile,
            load,
            parse,
            read_file,
        )
        from fal_env_conda.declaring.lock_files import read_lock

        if self.env_yml is not None:
            return read_file(self.env_yml)
        if self.env_yml_str is not None:
            where = "Option 'env_yml_str'"
            lock = read_lock(self.env_yml_str, where=where)
            if lock is not None:
                return EnvironmentFile(lock=lock.below(os.getcwd()))
            return parse(load(self.env_yml_str, where=where), where=where)
        if self.env_dict is not None:
            if not isinstance(self.env_dict, Mapping):
                raise OptionTypeError("env_dict", f"{self.env_dict!r}", "a dict")
            return parse(self.env_dict, where="Option 'env_dict'")
        return EnvironmentFile()

    @property
    def recipe(self) -> CondaRecipe:
        """What tells this environment from others."""
        from fal_env_conda.building.recipes import CondaRecipe

        return CondaRecipe(definition=self._definition, machine=self._machine)

    @property
    def key(self) -> str:
        return self.recipe.key

    def is_built(self) -> bool:
        from fal_env_conda.building.builds import is_built

        return is_built(self.recipe, force=self.force)

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        from fal_env_conda.building.builds import build, find_built

        recipe = self.recipe
        found = find_built(recipe, force=self.force)
        return found or build(recipe, log, cancelled, force=self.force)

    def stamp(self) -> object:
        return self.recipe.stamp()

    def definition(self) -> dict[str, Any]:
        refuse_for_service(self, ("index_url", "torch_backend"))
        from fal_env_conda.declaring.service_definitions import service_options

        named = [f"--extra-index-url {url}" for url in self.extra_index_urls]
        return service_options(
            self._definition,
            python_version=self.python_version,
            env_dict=self.env_dict,
            packages=self.packages,
            pip=(*(self.pip or ()), *named) if named else self.pip,
            channels=self.channels,
        )

    def extend(self, requirements: Iterable[str]) -> Conda:
        added = attrs.evolve(self, pip=(*(self.pip or ()), *requirements))
        return added if self._machine is None else added.for_machine(self._machine)

    def lock(self, log: LogSink, cancelled: Event) -> Mapping[str, str]:
        from fal_env_conda.building import locks

        found = locks.lock(self.recipe, log, cancelled)
        return {"": found.lock, ".explicit.txt": found.explicit}

    def for_machine(self, machine: Machine) -> Conda:
        """Return this environment as it is solved for *machine*."""
        solved = attrs.evolve(self)
        object.__setattr__(solved, "_machine", machine)
        return solved
