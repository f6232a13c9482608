"""
Kind ``virtualenv``: a virtual environment built by uv.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from threading import Event
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError
from fal_core.hooks import API_VERSION, hookimpl
from fal_core.reprs import show_fields
from fal_env_virtualenv.credentials import mask
from fal_env_virtualenv.pythons import check_version
from fal_env_virtualenv.requirements import Layers, absolute

if TYPE_CHECKING:
    import click

    from fal_core.checks import Check
    from fal_core.events import LogSink

fal_core_api = API_VERSION


def _words(written: Iterable[str]) -> tuple[str, ...]:
    if isinstance(written, str):
        raise OptionError(f"A list of str is needed, not the str {mask(written)!r}.")
    return tuple(written)


def _masked(value: object) -> str:
    return mask(repr(value))


def _path(written: str | os.PathLike[str] | None) -> str | None:
    return None if written is None else os.path.abspath(os.path.expanduser(written))


@attrs.frozen(kw_only=True)
class Virtualenv(Environment):
    """
    A virtual environment with *requirements* installed.

    Attributes:
        requirements: Entries, or layers of entries: a layer is installed after
            the one before it and changes nothing of it. An entry is a package
            with versions, an address as in ``git+https://…``, a local project,
            as in ``./project`` or ``-e ./project``, or a file that lists
            requirements, as in ``requirements.txt`` or ``pyproject.toml``.

        python_version: As in ``3.11``. None for that of the launching Python.

        resolver: uv builds either way; ``pip`` is understood because
            declarations written for other builders say it.

        force: Resolve and build anew, once in each process.

        compile_bytecode: Compile what is installed, for a faster first import.

        constraints_file: A file of versions that what is installed must have.

        extra_index_urls: Indexes to look in before the usual ones.

        tags: Words that keep this environment apart from equal ones.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "virtualenv"

    requirements: tuple[str, ...] | Layers = attrs.field(
        default=(), converter=absolute, repr=_masked
    )
    python_version: str | None = None
    resolver: Literal["uv", "pip"] | None = None
    force: bool = False
    compile_bytecode: bool = False
    constraints_file: str | os.PathLike[str] | None = attrs.field(default=None, converter=_path)
    extra_index_urls: tuple[str, ...] = attrs.field(default=(), converter=_words, repr=_masked)
    tags: tuple[str, ...] = attrs.field(default=(), converter=_words)

    def __attrs_post_init__(self) -> None:
        if self.python_version is not None:
            check_version(self.python_version)
        if self.resolver not in (None, "uv", "pip"):
            raise OptionError(
                f"Option 'resolver' must be 'uv' or 'pip', not {self.resolver!r}."
            )
        if self.constraints_file is not None and not os.path.isfile(self.constraints_file):
            raise OptionError(
                f"Option 'constraints_file' names {self.constraints_file}, "
                "and there is no such file."
            )

    @property
    def layers(self) -> Layers:
        """
        The requirements in layers, also where they were not written so.
        """
        # Each of its entries is of one form, which types cannot tell from the first.
        if all(isinstance(entry, str) for entry in self.requirements):
            return (self.requirements,) if self.requirements else ()  # type: ignore[return-value]
        return self.requirements  # type: ignore[return-value]

    @property
    def key(self) -> str:
        from fal_env_virtualenv.keys import environment_key

        return environment_key(self)

    def is_built(self) -> bool:
        from fal_env_virtualenv import records

        key = self.key
        record = records.read_record(key)
        if record is None or records.fault(record) is not None:
            return False
        return not self.force or key in records.forced

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        from fal_env_virtualenv.records import find

        key = self.key
        found = find(key, force=self.force)
        if found is not None:
            return found
        from fal_env_virtualenv.builder import build

        return build(self, key, log, cancelled)

    def stamp(self) -> object:
        from fal_env_virtualenv.keys import environment_stamp

        return environment_stamp(self)

    def extend(self, requirements: Iterable[str]) -> Virtualenv:
        return attrs.evolve(self, requirements=(*self.layers, tuple(requirements)))


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """
    Register the kind ``virtualenv``.
    """
    return [Virtualenv]


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """
    Add the group ``env``.
    """
    from fal_env_virtualenv.commands import env

    cli.add_command(env)


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """
    Check that uv is there, and that what it builds can be kept.
    """
    from fal_env_virtualenv.checks import health_checks

    return health_checks()
