"""Another Python: a kind of environment with an installed Python of another version."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import (
    OLDEST_PYTHON,
    THIS_PYTHON,
    Environment,
    Interpreter,
    LocalInterpreter,
)
from fal_core.errors import EnvironmentBuildError, OptionError
from fal_core.events import LogSink
from fal_core.hooks import hookimpl
from fal_core.plugins import registered

#: A plugin, which is registered for a while.
fal_core_api = 1

#: The newest minor version that is looked for.
_NEWEST = 15


@attrs.frozen(kw_only=True)
class InstalledPython(Environment):
    """
    A Python of this machine, with nothing beside it.

    Attributes:
        python_version: As in ``3.12``.
    """

    kind: ClassVar[str] = "installed-python"

    python_version: str = THIS_PYTHON

    @property
    def key(self) -> str:
        return digest(f"{self.kind}\0{self.python_version}\0{sys.prefix}".encode())

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        found = LocalInterpreter.find(self.python_version)
        if found is None:
            raise EnvironmentBuildError(
                self.kind, f"Python {self.python_version} is not installed."
            )
        return found

    def extend(self, requirements: Iterable[str]) -> InstalledPython:
        raise OptionError(f"Kind {self.kind!r} takes no requirements.")


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``installed-python``."""
    return [InstalledPython]


@contextmanager
def other_python() -> Iterator[str]:
    """
    Yield the version of an installed Python that is not the running one, as in ``3.12``.

    While the context lasts, functions of the kind ``installed-python`` run in it that have
    the version as their ``python_version``. The test is skipped where there is no such
    Python.
    """
    version = find_other_python().python_version
    assert version is not None
    with registered(sys.modules[__name__]):
        yield version


def find_other_python(*versions: str) -> LocalInterpreter:
    """
    Return an installed Python that is not the running one. The test is skipped where there
    is none.

    Arguments:
        versions: Those to look for, as in ``3.12``, the first that is there counting. All
            that run a worker unless given, the newest first.
    """
    # The hosts of this package are there without pytest too.
    import pytest

    wanted = versions or [f"3.{minor}" for minor in range(_NEWEST, OLDEST_PYTHON[1] - 1, -1)]
    for version in wanted:
        found = None if version == THIS_PYTHON else LocalInterpreter.find(version)
        if found is not None:
            return found
    which = f"of {', '.join(versions)}" if versions else "that runs a worker"
    pytest.skip(f"No Python {which} is installed beside {THIS_PYTHON}.")
