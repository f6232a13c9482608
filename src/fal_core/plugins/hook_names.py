"""
Hook names: what a plugin defines under the name of a hook, or under one that is nearly so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType

#: How the names of all hooks begin.
PREFIX = "fal_"

_RENAME = " Give it another name."


def check_hook_names(
    plugin: object, answered: Iterable[str], hooks: Iterable[str]
) -> str | None:
    """
    Check that what *plugin* defines under the name of a hook answers that hook.

    Arguments:
        answered: The hooks that it answers, as they were found by their mark.

        hooks: All that there are.
    """
    known, found = sorted(hooks), set(answered)
    for name in sorted(found.difference(known)):
        meant = nearest(name, known, _RENAME)
        return f"it implements {name!r}, which is not a hook of fal-core.{meant}"
    for name, is_own in _functions_of(plugin):
        if name in known and name not in found:
            return f"its function {name} is not marked as a hook. Write '@hookimpl' above it."
        if name not in known and is_own:
            return (
                f"its function {name} has a name that begins as those of hooks do, and is "
                f"none of them.{nearest(name, known, _RENAME)}"
            )
    return None


def _functions_of(plugin: object) -> Iterator[tuple[str, bool]]:
    """
    Yield the names of functions of *plugin* that look like hooks, and whether each was
    written there and not imported.
    """
    is_module = isinstance(plugin, ModuleType)
    for owner in (plugin,) if is_module else type(plugin).__mro__:
        for name, value in sorted(vars(owner).items()):
            if name.startswith(PREFIX) and isinstance(value, FunctionType):
                yield name, not is_module or value.__module__ == vars(owner)["__name__"]


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """
    Return a question whether one of *known* was meant; *otherwise* where none is near.
    """
    from difflib import get_close_matches

    for near in get_close_matches(name, known, n=1):
        return f" Did you mean {near!r}?"
    return otherwise
