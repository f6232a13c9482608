"""
The plugin that fal-core itself provides: the kind ``current``.
"""

from __future__ import annotations

from collections.abc import Iterable

from fal_core.environments import CurrentEnvironment, Environment
from fal_core.hooks import hookimpl

fal_core_api = 1


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """
    Register the kind ``current``.
    """
    return [CurrentEnvironment]
