"""Hook names: what a plugin defines under the name of a hook, or under one that is nearly so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType

from fal_core import hooks

#: How the names of all hooks begin.
PREFIX = "fal_"

#: The names of all hooks.
HOOKS = tuple(sorted(name for name in vars(hooks) if name.startswith(PREFIX)))

_RENAME = " Give it another name."


def check_hook_names(plugin: object, answered: Iterable[str]) -> str | None:
    """
    Check that what *plugin* defines under the name of a hook answers that hook.

    Arguments:
        answered: The hooks that it answers, as they were found by their mark.
    """
    found = set(answered)
    for name in sorted(found.difference(HOOKS)):
        meant = nearest(name, HOOKS, _RENAME)
        return f"it implements {name!r}, which is not a hook of fal-core.{meant}"
    for name, is_own in _functions_of(plugin):
        if name in HOOKS and name not in found:
            return f"its function {name} is not marked as a hook. Write '@hookimpl' above it."
        if name not in HOOKS and is_own:
            return (
                f"its function {name} has a name that begins as those of hooks do, and is "
                f"none of them.{nearest(name, HOOKS, _RENAME)}"
            )
    return None


def check_hook_runs(name: str, function: Callable[..., object]) -> str | None:
    """Check that *function*, which answers the hook *name*, does so when it is called."""
    if inspect.iscoroutinefunction(function):
        return f"its hook {name} is async, and nobody awaits it. Write 'def {name}'."
    answers = getattr(hooks, name).__annotations__["return"] != "None"
    if inspect.isgeneratorfunction(function) and not answers:
        return f"its hook {name} yields, so calling it does nothing. Leave 'yield' out."
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
    """Return a question whether one of *known* was meant; *otherwise* where none is near."""
    from difflib import get_close_matches

    for near in get_close_matches(name, known, n=1):
        return f" Did you mean {near!r}?"
    return otherwise
