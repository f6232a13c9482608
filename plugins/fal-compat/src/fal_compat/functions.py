"""The decorator ``function``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

#: What travels with a function: its module imports the first, whose names lead to the second.
TRAVELLING = ("fal_compat", "fal_serve")

#: The option for requirements of each kind.
_REQUIREMENTS = {"virtualenv": "requirements", "container": "requirements"}

_PYDANTIC = re.compile(r"\s*pydantic\s*($|[^\w.\s-])|\s*(-r|--requirement)\b", re.IGNORECASE)

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
        The environment has pydantic too, of the version here, unless it asks for one.
        """
        from fal_core import function as isolate

        if kind == "container" and config.get("image") is None:
            from fal_core.environments import THIS_PYTHON

            config["image"] = f"python:{config.get('python_version') or THIS_PYTHON}-slim"
        name = _REQUIREMENTS.get(kind) if isinstance(kind, str) else None
        if name is not None:
            config[name] = with_pydantic(config.get(name))
        modules = with_own(local_python_modules)
        return isolate(kind, host=host, local_python_modules=modules, **config)


def with_own(modules: Iterable[str] | None) -> list[str]:
    """Return *modules* with those of this distribution that have to travel too."""
    return list(dict.fromkeys((*(modules or ()), *TRAVELLING)))


def with_pydantic(requirements: Any) -> Any:
    """
    Return *requirements* with pydantic of the version here, unless they name it or a file
    that may.
    """
    from fal_serve.serving.servable_servers import pin_own_pydantic

    written = [] if requirements is None else requirements
    if not isinstance(written, list):
        # It is told below what is wrong with it.
        return requirements
    layers = [each if isinstance(each, list) else [each] for each in written]
    entries = [entry for layer in layers for entry in layer if isinstance(entry, str)]
    if any(map(_PYDANTIC.match, entries)):
        return requirements
    added = list(pin_own_pydantic(["pydantic>=2.12"]))
    if written and all(isinstance(each, list) for each in written):
        return [*written, added]
    if any(entry.strip() == "--no-deps" for entry in entries):
        # The flag holds for its layer, and pydantic does not work without what it needs.
        return [written, added]
    return [*written, *added]
