"""Spreading: options that are written together, each given the name that it has alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fal_core.conversion.annotations import option_names
from fal_core.declaring.typed_options import options_of
from fal_core.environments import Environment
from fal_core.errors import OptionError, OptionTypeError
from fal_core.plugins.installed import find_environment


def spread(config: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *config* with the options in ``options`` as its own, and those of an environment
    that stands in the place of a kind.

    Raises:
        OptionError: An option is written twice, or no plugin provides the kind.
    """
    written = {name: value for name, value in config.items() if name != "options"}
    more = config.get("options")
    if more is not None:
        _refuse_second(written, _check_mapping(more))
        written.update(more)
    environment = written.get("kind")
    if isinstance(environment, Environment):
        cls = _check_provided(environment)
        for name in option_names(cls):
            if name in written:
                raise OptionError(
                    f"Option {name!r} is one of {cls.__name__}, and is written beside it. "
                    f"Write {cls.__name__}({name}=…)."
                )
        written.update({"kind": environment.kind, **options_of(environment)})
    return written


def _check_mapping(more: Any) -> Mapping[str, Any]:
    if isinstance(more, Mapping) and all(isinstance(name, str) for name in more):
        return more
    from fal_core.conversion.mismatches import show

    raise OptionTypeError("options", show(more), "a mapping of options by their names")


def _refuse_second(written: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    for name in more:
        if name in written:
            raise OptionError(
                f"Option {name!r} is written as a keyword and in 'options'. Write it once."
            )


def _check_provided(environment: Environment) -> type[Environment]:
    """Return the class of *environment*, which must be the one that its kind has here."""
    cls, provided = type(environment), find_environment(environment.kind)
    if provided is not cls:
        raise OptionError(
            f"Kind {environment.kind!r} is {provided.__module__}.{provided.__qualname__} here, "
            f"not {cls.__module__}.{cls.__qualname__}. Use the class that its plugin registers."
        )
    return cls
