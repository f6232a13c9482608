"""Shown options: the values of options as people may read them, without credentials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from fal_core.declaring.vocabulary import structure_environment
from fal_core.environments import Environment
from fal_core.errors import FalCoreError
from fal_core.options import Options
from fal_core.reprs import show_html


def shown_fields(environment: Environment, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """
    Yield those of *names* that are options of *environment*, each with what is shown of its
    value.
    """
    cls: Any = type(environment)
    fields = {field.alias: field for field in attrs.fields(cls)}
    for name in names:
        if name in fields:
            yield name, shown_value(fields[name], getattr(environment, fields[name].name))


def shown_value(field: attrs.Attribute[Any], value: Any) -> str:
    """Return the ``repr`` of the *value* of a field, without credentials."""
    # A field that may hold them has a ``repr`` of its own.
    return str(field.repr(value)) if callable(field.repr) else repr(value)


def show_options(title: str, options: Options) -> str:
    """Return a table of *options*, as a function has them, for notebooks."""
    written = [name for name in options.environment if name != "kind"]
    try:
        shown = dict(shown_fields(structure_environment(options), written))
    except FalCoreError:
        # Their kind is not installed here, which would tell what may be shown.
        shown = {}
    rows = [(name, shown.get(name, "…")) for name in written]
    others = {**options.host, **options.gateway}
    return show_html(title, [*rows, *((name, repr(value)) for name, value in others.items())])
