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
    package: str, modules: Mapping[str, str], own: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """
    Return the ``__getattr__``, the ``__dir__`` and the ``__all__`` of *package*.

    Arguments:
        modules: The names of each module, separated by spaces; as ``name=other`` if it has
            another name there.

        own: The modules of the package that are its attributes too.
    """
    known = frozenset(own)
    places = {
        name: (module, other or name)
        for module, names in modules.items()
        for name, _, other in (each.partition("=") for each in names.split())
    }

    def find(name: str) -> Any:
        if name in known:
            return importlib.import_module(f"{package}.{name}")
        if name not in places:
            refuse(package, name)
        module, other = places[name]
        return getattr(importlib.import_module(module), other)

    def list_names() -> list[str]:
        return sorted({*places, *known})

    return find, list_names, sorted(places)
