"""
The decorator ``function``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

#: What travels with a function: its module imports the first, whose names lead to the second.
TRAVELLING = ("fal_compat", "fal_serve")

if TYPE_CHECKING:
    from fal_core import function as function
else:

    def function(
        kind: Any = "virtualenv",
        *,
        host: Any = None,
        local_python_modules: list[str] | None = None,
        **config: Any,
    ) -> Callable[[Callable[..., Any]], Any]:
        """
        Make an isolated function of the function below, as ``fal_core.function`` does.

        It runs on the default host of fal-core, which is this machine, unless *host* or the
        variable ``FAL_CORE_HOST`` names another. For kind ``container`` the image may be left
        out, as with the SDK: it is one with the Python that is asked for, or with this one.
        """
        from fal_core import function as isolate

        if kind == "container" and config.get("image") is None:
            from fal_core.environments import THIS_PYTHON

            config["image"] = f"python:{config.get('python_version') or THIS_PYTHON}-slim"
        modules = with_own(local_python_modules)
        return isolate(kind, host=host, local_python_modules=modules, **config)


def with_own(modules: Iterable[str] | None) -> list[str]:
    """
    Return *modules* with those of this distribution that have to travel too.
    """
    return list(dict.fromkeys((*(modules or ()), *TRAVELLING)))
