"""
OpenAPI documents of applications: which endpoints are websockets, and what others take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

#: How deep an example goes.
_DEEPEST = 4

_ZEROS: Mapping[str, Any] = {
    "string": "...",
    "integer": 1,
    "number": 1.0,
    "boolean": False,
    "array": [],
    "null": None,
}


def realtime_paths(metadata: Mapping[str, Any]) -> list[str]:
    """
    Return the paths in the metadata of a revision that are websockets.
    """
    found = _paths_of(metadata)
    return [path for path, item in found.items() if "x-fal-protocol" in item]


def example_of(metadata: Mapping[str, Any], path: str) -> Any:
    """
    Return an input of an endpoint, with what it requires. None where that is not known.
    """
    operation = _paths_of(metadata).get(path, {}).get("post", {})
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if not isinstance(schema, Mapping):
        return None
    return _example(schema, metadata.get("openapi", {}), _DEEPEST)


def query_of(metadata: Mapping[str, Any], path: str) -> str:
    """
    Return a query of an endpoint, with what it requires there. Empty where that is nothing.
    """
    operation = _paths_of(metadata).get(path, {}).get("post", {})
    document = metadata.get("openapi", {})
    required = {
        each["name"]: _example(each.get("schema", {}), document, _DEEPEST)
        for each in operation.get("parameters", ())
        if each.get("in") == "query" and each.get("required")
    }
    return urlencode(required)


def _paths_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    found = metadata.get("openapi", {}).get("paths", {})
    return {path: item for path, item in found.items() if isinstance(item, Mapping)}


def _example(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int) -> Any:
    for name in ("default", "example", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    if depth == 0:
        return None
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        found = document.get("components", {}).get("schemas", {}).get(name, {})
        return _example(found, document, depth - 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _example(schema[name][0], document, depth - 1)
    if schema.get("type") == "object" or "properties" in schema:
        required, properties = schema.get("required", ()), schema.get("properties", {})
        return {
            name: _example(properties.get(name, {}), document, depth - 1) for name in required
        }
    return _ZEROS.get(str(schema.get("type")))
