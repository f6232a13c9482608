"""The kind ``virtualenv``: its options, and how it is found or built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from fal_core.abilities import LockingEnvironment
from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_uv.fields import PackageOptions, to_texts

if TYPE_CHECKING:
    from fal_core.events import LogSink
    from fal_env_virtualenv.building.recipes import VenvRecipe

# Imports inside functions: every program that declares a function of any kind imports
# this module, and few of them write requirements.


@attrs.frozen(kw_only=True)
class Virtualenv(PackageOptions, Environment, LockingEnvironment):
    """
    A virtual environment with *requirements* installed, built by uv.

    The sources of a *project* are read in place.

    Attributes:
        python_version: As in ``3.11``, bounds as in ``>=3.12``, or the path of a file
            ``.python-version``. None for the version of the launching Python, or another one
            of this machine if the files in *requirements* or the project exclude that.

        resolver: Has no effect, as uv resolves in either case. ``pip`` is accepted
            because declarations written for other builders have it.

        force: Resolve and build anew, once in each process.

        compile_bytecode: Compile what is installed, for a faster first import.

        tags: Words that keep this environment apart from otherwise equal ones.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "virtualenv"
    lock_name: ClassVar[str] = "pylock.toml"

    python_version: str | None = None
    resolver: Literal["uv", "pip"] | None = None
    force: bool = False
    compile_bytecode: bool = False
    tags: tuple[str, ...] = attrs.field(default=(), converter=to_texts)

    def __attrs_post_init__(self) -> None:
        self.check_packages()
        version = self.python_version
        if self.names_files or (version is not None and not version.strip()[:1].isdigit()):
            from fal_uv.installing.request_checks import python_of

            # The core reads the version before anything is built.
            chosen = python_of(self.package_request(), version)
            object.__setattr__(self, "python_version", chosen)
        if self.python_version is not None:
            from fal_uv.installing.interpreters import check_version

            check_version(self.python_version)
        if self.resolver not in (None, "uv", "pip"):
            raise OptionError(
                f"Option 'resolver' must be 'uv' or 'pip', not {self.resolver!r}."
            )

    @property
    def recipe(self) -> VenvRecipe:
        """The options that tell this environment from others."""
        from fal_env_virtualenv.building.recipes import VenvRecipe

        return VenvRecipe(
            packages=self.package_request(),
            python_version=self.python_version,
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
        return self.package_request().stamp()

    def definition(self) -> dict[str, Any] | None:
        self.check_for_service()
        return None

    def lock(self, log: LogSink, cancelled: Event) -> Mapping[str, str]:
        from fal_env_virtualenv.building.locks import lock

        return {"": lock(self.recipe, self.key, log, cancelled, force=self.force)}

    def extend(self, requirements: Iterable[str]) -> Virtualenv:
        return attrs.evolve(self, requirements=(*self.layers, tuple(requirements)))
