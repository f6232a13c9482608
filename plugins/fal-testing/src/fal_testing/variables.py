"""A Python with variables: a kind of environment whose interpreter needs some of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import THIS_PYTHON, Environment, Interpreter, LocalInterpreter
from fal_core.errors import OptionError
from fal_core.events import LogSink
from fal_core.hooks import hookimpl
from fal_core.plugins import registered

#: A plugin, which is registered for a while.
fal_core_api = 1

#: The variable that the processes of the kind see.
VARIABLE = "FAL_CORE_LAW_VARIABLE"

#: The values of the environments that were built in this process.
_built: set[str] = set()


@attrs.frozen(kw_only=True)
class PythonWithVariables(Environment):
    """
    The running Python, whose processes see one more variable.

    Attributes:
        law_value: The value of the variable.
    """

    kind: ClassVar[str] = "python-with-variables"

    law_value: str

    @property
    def key(self) -> str:
        return digest(f"{self.kind}\0{self.law_value}\0{sys.prefix}".encode())

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        _built.add(self.law_value)
        return LocalInterpreter(
            sys.executable, THIS_PYTHON, variables={VARIABLE: self.law_value}
        )

    def extend(self, requirements: Iterable[str]) -> PythonWithVariables:
        raise OptionError(f"Kind {self.kind!r} takes no requirements.")


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``python-with-variables``."""
    return [PythonWithVariables]


@contextmanager
def python_with_variables() -> Iterator[str]:
    """
    Yield a value that no process has seen yet.

    While the context lasts, functions of the kind ``python-with-variables`` run with the
    variable :data:`VARIABLE` set to what they have as their ``law_value``.
    """
    with registered(sys.modules[__name__]):
        yield os.urandom(8).hex()


def was_built_here(value: str) -> bool:
    """Tell whether the environment with *value* was built in this process."""
    return value in _built
