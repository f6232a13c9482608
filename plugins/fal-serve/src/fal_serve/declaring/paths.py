"""Paths of endpoints, with parameters as in ``/items/{name}``."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import quote

_PARAMETER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")


def find_path_error(path: str) -> str | None:
    """Return what is wrong with the parameters of *path*, or None."""
    rest = _PARAMETER.sub("", path)
    if "{" in rest or "}" in rest:
        return "has a brace that is no parameter. Write parameters as in '/items/{name}'."
    found = _PARAMETER.findall(path)
    for name, count in Counter(name for name, _ in found).items():
        if count > 1:
            return f"has the parameter {name!r} {count} times. Give each a name of its own."
    if any(kind for _, kind in found):
        from starlette.convertors import CONVERTOR_TYPES

        for name, kind in found:
            if kind and kind not in CONVERTOR_TYPES:
                known = ", ".join(sorted(CONVERTOR_TYPES))
                return f"has no known kind of parameter in '{{{name}:{kind}}}'. Known: {known}."
    return None


def path_shape(path: str) -> str:
    """Return *path* without the names of its parameters: equal shapes match equal paths."""
    return _PARAMETER.sub(lambda found: f"{{{found[2] or 'str'}}}", path)


def fill_path(path: str, values: dict[str, str]) -> str:
    """Return *path* with its parameters replaced by *values*, which are removed from there."""

    def value_of(found: re.Match[str]) -> str:
        return quote(values.pop(found[1]), safe="/") if found[1] in values else found[0]

    return _PARAMETER.sub(value_of, path)
