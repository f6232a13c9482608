"""
The declaration of an isolated function: all that a call is made from.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

import attrs

from fal_core.calls import AuthMode
from fal_core.hosts import Host
from fal_core.options import Options
from fal_core.policies import Policy
from fal_core.reprs import show_fields

Flavour = Literal["function", "coroutine", "generator", "async generator"]


@attrs.frozen(kw_only=True, eq=False)
class Declaration:
    """
    What an isolated function declares, at the moment at which it is called.

    Attributes:
        host: The host that runs the calls.

        raw_func: The function as it was written. None if there is no code.

        reraise: Whether the caller gets exceptions of the function themselves.

        app_name: What a host calls the application.

        app_auth: Who may reach the application.

        local_python_modules: Modules that travel with the function as source.
    """

    __repr__ = show_fields

    host: Host[Any, Any]
    raw_func: Callable[..., Any] | None
    options: Options
    policy: Policy = Policy()
    reraise: bool = True
    app_name: str | None = None
    app_auth: AuthMode | None = None
    local_python_modules: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """
        The name of the function, for people.
        """
        return getattr(self.raw_func, "__name__", "function")

    @property
    def is_generator(self) -> bool:
        """
        Whether calls yield items.
        """
        return flavour_of(self.raw_func).endswith("generator")

    @property
    def is_service(self) -> bool:
        """
        Whether the function is reached from outside.
        """
        gateway = self.options.gateway
        return bool(gateway.get("serve")) or gateway.get("exposed_port") is not None


def flavour_of(func: Callable[..., Any] | None) -> Flavour:
    """
    Return what calling *func* gives.
    """
    func = inspect.unwrap(func) if callable(func) else None
    if isinstance(func, functools.partial):
        func = func.func
    if inspect.isasyncgenfunction(func):
        return "async generator"
    if inspect.isgeneratorfunction(func):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(func) else "function"
