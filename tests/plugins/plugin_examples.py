"""
Plugins that are made for a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from fal_core.environments import Environment
from fal_core.hooks import hookimpl
from fal_core.hosts import Host


def plugin(
    hosts: Iterable[type[Host[..., Any]]] = (),
    environments: Iterable[type[Environment]] = (),
    **hooks: Callable[..., Any],
) -> ModuleType:
    """
    Make a plugin that provides *hosts* and *environments*.
    """
    made: Any = ModuleType("plugin")
    made.fal_core_api = 1
    made.fal_register_hosts = hookimpl(lambda: hosts)
    made.fal_register_environments = hookimpl(lambda: environments)
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made  # type: ignore[no-any-return]  # a module
