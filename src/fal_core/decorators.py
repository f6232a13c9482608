"""
Decorators: what a declaration is before it has a function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.errors import OptionError
from fal_core.functions import IsolatedFunction, ServedIsolatedFunction
from fal_core.hosts import Host
from fal_core.options import Options
from fal_core.policies import Policy


@attrs.frozen(kw_only=True, eq=False)
class Decorator:
    """
    Makes functions isolated, each as *options* and *policy* say.
    """

    host: Host[Any, Any] = attrs.field(repr=False)
    options: Options
    local_python_modules: tuple[str, ...] | None
    policy: Policy

    def __call__(self, func: Callable[..., Any]) -> IsolatedFunction[..., Any]:
        """
        Return *func* as an isolated function.

        Raises:
            OptionError: It is no function.
        """
        if not callable(func):
            raise OptionError(f"Only a function can be isolated, not {func!r}.")
        served = bool(self.options.gateway.get("serve"))
        isolated: IsolatedFunction[..., Any]
        isolated = (ServedIsolatedFunction if served else IsolatedFunction)(
            self.host,
            func,
            self.options,
            app_name=getattr(func, "__name__", None),
            local_python_modules=self.local_python_modules,
            policy=self.policy,
        )
        functools.update_wrapper(isolated, func, updated=())
        return isolated

    def __reduce__(self) -> tuple[Any, ...]:
        # Code that refers to it travels; the host and what it holds stay here.
        from fal_core_worker.absent import make_decorator

        return make_decorator, ()
