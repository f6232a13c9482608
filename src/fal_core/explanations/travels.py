"""Travels: how the modules that a function uses reach the worker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

import attrs

from fal_core.reprs import show_fields
from fal_core.sealing.imports import find_module
from fal_core.sealing.sources import first_imports, local_modules


@attrs.frozen(kw_only=True)
class Travel:
    """
    How the objects of a module reach the worker, for ``fal-core explain``.

    Attributes:
        how: ``value``: inside the pickle. ``source``: its files travel, and it is
            imported from them. ``reference``: it is imported from the environment.

        why: The reason, as a sentence.
    """

    __repr__ = show_fields

    module: str
    how: Literal["value", "source", "reference"]
    why: str


def travel_report(
    func: Callable[..., Any], local_python_modules: Iterable[str] = ()
) -> tuple[Travel, ...]:
    """Return how each module that *func* uses reaches the worker."""
    module = getattr(func, "__module__", None) or "__main__"
    local = local_modules(func, local_python_modules)
    named = set(local_python_modules)
    report = [Travel(module=module, how="value", why="The function is defined in it.")]
    for name in sorted(local):
        why = "It is local, or installed in editable mode."
        if name in named:
            why = "local_python_modules names it."
        report.append(Travel(module=name, how="source", why=why))
    tops = {name.partition(".")[0] for name in first_imports(func)}
    for name in sorted(tops - {name.partition(".")[0] for name in local} - {"fal_core"}):
        if name in sys.stdlib_module_names:
            why = "It belongs to Python."
        elif find_module(name) is None:
            why = "It is not found here; the environment must have it."
        else:
            why = "It is installed; the environment must have it too."
        report.append(Travel(module=name, how="reference", why=why))
    return tuple(report)
