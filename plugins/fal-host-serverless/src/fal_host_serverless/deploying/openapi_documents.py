"""OpenAPI documents of applications: which endpoints are websockets, and what others take."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

#: How deep an example goes.
_DEEPEST = 16

#: Texts of formats, and of properties that are URLs by their names.
_FORMATS: Mapping[str, str] = {
    "uri": "https://example.org/",
    "email": "name@example.org",
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
#: Texts of which one may fit a pattern.
_TEXTS = ("...", "a", "A", "1", "aa", "AA", "11", "abc", "123", "a1", "1:1", "1x1", "#000000")


def realtime_paths(metadata: Mapping[str, Any]) -> list[str]:
    """Return the paths in the metadata of a revision that are websockets."""
    found = _paths_of(metadata)
    return [path for path, item in found.items() if "x-fal-protocol" in item]


def example_of(metadata: Mapping[str, Any], path: str) -> Any:
    """Return an input of an endpoint, with what it requires. None where that is not known."""
    operation = _paths_of(metadata).get(path, {}).get("post", {})
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if not isinstance(schema, Mapping):
        return None
    return _example(schema, metadata.get("openapi", {}), _DEEPEST)


def query_of(metadata: Mapping[str, Any], path: str) -> str:
    """Return a query of an endpoint, with what it requires there. Empty where that is nothing."""
    operation = _paths_of(metadata).get(path, {}).get("post", {})
    document = metadata.get("openapi", {})
    required = {
        each["name"]: _example(each.get("schema", {}), document, _DEEPEST, each["name"])
        for each in operation.get("parameters", ())
        if each.get("in") == "query" and each.get("required")
    }
    return urlencode(required)


def _paths_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    found = metadata.get("openapi", {}).get("paths", {})
    return {path: item for path, item in found.items() if isinstance(item, Mapping)}


def _example(
    schema: Mapping[str, Any], document: Mapping[str, Any], depth: int, name: str = ""
) -> Any:
    """
    Return a value of *schema*.

    Arguments:
        name: Of the property that has the value.
    """
    for key in ("default", "example", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    if depth == 0:
        return None
    if "$ref" in schema:
        called = str(schema["$ref"]).rpartition("/")[2]
        found = document.get("components", {}).get("schemas", {}).get(called, {})
        return _example(found, document, depth - 1, name)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _example(schema[key][0], document, depth - 1, name)
    if schema.get("allOf"):
        parts = [_example(each, document, depth - 1, name) for each in schema["allOf"]]
        objects = [each for each in parts if isinstance(each, dict)]
        return {k: v for each in objects for k, v in each.items()} if objects else parts[0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        required, properties = schema.get("required", ()), schema.get("properties", {})
        return {
            each: _example(properties.get(each, {}), document, depth - 1, each)
            for each in required
        }
    if kind == "array":
        first = [_example(each, document, depth - 1) for each in schema.get("prefixItems", ())]
        rest = max(0, min(schema.get("minItems", 0), _DEEPEST) - len(first))
        item = schema.get("items") or {}
        return [*first, *(_example(item, document, depth - 1, name) for _ in range(rest))]
    if kind == "string":
        return _text(schema, name)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return False if kind == "boolean" else None


def _text(schema: Mapping[str, Any], name: str) -> str:
    """
    Return a text of the form, the length and the pattern that *schema* says, as far as one is
    known.
    """
    is_url = name.lower().endswith(("url", "uri"))
    known = _FORMATS.get("uri" if is_url else str(schema.get("format")))
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    candidates = [known] if known is not None else []
    candidates += [each.ljust(least, each[-1])[:most] for each in _TEXTS]
    pattern = schema.get("pattern")
    if pattern is None:
        return candidates[0]
    try:
        return next((each for each in candidates if re.search(pattern, each)), candidates[0])
    except re.error:
        return candidates[0]


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """Return a number between the bounds of *schema*, 1 if that is."""
    step = schema.get("multipleOf") or (1 if whole else 0)
    low = _bound(schema, "minimum", "exclusiveMinimum", max)
    high = _bound(schema, "maximum", "exclusiveMaximum", min)
    candidates: list[float] = [1, 0]
    if step:
        for bound in (each for each in (low, high) if each is not None):
            nearest = math.floor(bound / step)
            candidates += [number * step for number in (nearest, nearest + 1, nearest - 1)]
        candidates.append(step)
    else:
        below, above = (-math.inf if low is None else low), (math.inf if high is None else high)
        inside = [each for each in (below, above) if math.isfinite(each)]
        candidates += [sum(inside) / len(inside)] if inside else []
        candidates += [*inside, below + 1, above - 1]
    found = next((each for each in candidates if _is_within(each, schema, step)), 1)
    return found if whole else float(found)


def _bound(
    schema: Mapping[str, Any], inner: str, outer: str, choose: Callable[..., Any]
) -> float | None:
    # In older documents an exclusive bound is a boolean.
    written = [schema.get(inner), schema.get(outer)]
    found = [each for each in written if each is not None and not isinstance(each, bool)]
    return choose(found) if found else None


def _is_within(number: float, schema: Mapping[str, Any], step: float) -> bool:
    if not math.isfinite(number) or (step and number % step):
        return False
    tests: Mapping[str, Callable[[float, float], bool]] = {
        "minimum": operator.ge,
        "maximum": operator.le,
        "exclusiveMinimum": operator.gt,
        "exclusiveMaximum": operator.lt,
    }
    return all(
        test(number, schema[key])
        for key, test in tests.items()
        if schema.get(key) is not None and not isinstance(schema[key], bool)
    )
