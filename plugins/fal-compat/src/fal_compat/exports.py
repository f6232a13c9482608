"""
Names that are imported at their first use.

It is imported where functions run as well, and there without fal_core.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fal_compat.absent import refuse


def lazily(
    package: str, names: Mapping[str, str], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    Return the functions ``__getattr__`` and ``__dir__`` of *package*.

    Arguments:
        names: The module of each name; as ``module:other`` if it has another name there.

        modules: The modules of the package that are its attributes too.
    """
    known = frozenset(modules)

    def find(name: str) -> Any:
        if name in known:
            return importlib.import_module(f"{package}.{name}")
        place = names.get(name)
        if place is None:
            refuse(package, name)
        module, _, other = place.partition(":")
        return getattr(importlib.import_module(module), other or name)

    def list_names() -> list[str]:
        return sorted({*names, *known})

    return find, list_names
