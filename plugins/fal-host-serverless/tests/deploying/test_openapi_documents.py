"""What OpenAPI documents say of endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from fal_host_serverless.deploying.openapi_documents import (
    example_of,
    query_of,
    realtime_paths,
)


def describe(schema: Any, **document: Any) -> dict[str, Any]:
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    return {"openapi": {"paths": {"/": {"post": operation}}, **document}}


def test_example_has_what_an_endpoint_requires():
    """Required properties have their default or first example, or a value of their type."""
    word = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    schema = {
        "required": ["word", "size", "words", "mode"],
        "properties": {
            "word": {"$ref": "#/components/schemas/Word"},
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "words": {"type": "array", "items": {"type": "string"}},
            "mode": {"enum": ["fast", "slow"]},
            "left": {"type": "string"},
        },
    }
    metadata = describe(schema, components={"schemas": {"Word": word}})
    found = example_of(metadata, "/")
    assert found == {"word": {"text": "..."}, "size": 1, "words": [], "mode": "fast"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 10}, 10),
        ({"type": "integer", "exclusiveMinimum": 10, "multipleOf": 8}, 16),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, 1.5),
        ({"type": "number", "exclusiveMinimum": 7}, 8.0),
        ({"type": "string", "minLength": 5}, "....."),
        ({"type": "string", "maxLength": 1}, "."),
        ({"type": "string", "pattern": r"^\d+x\d+$"}, "1x1"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "string", "format": "uri", "minLength": 1}, "https://example.org/"),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [1, 1]),
        ({"type": "array", "prefixItems": [{"type": "boolean"}], "minItems": 1}, [False]),
        (
            {
                "allOf": [
                    {"type": "object", "required": ["b"], "properties": {"b": {"const": 3}}}
                ]
            },
            {"b": 3},
        ),
    ],
    ids=str,
)
def test_example_is_within_its_bounds(schema: dict[str, Any], expected: Any):
    """Numbers, texts and arrays are as large as the schema asks for, and of the form."""
    found = example_of(
        describe({"type": "object", "required": ["a"], "properties": {"a": schema}}), "/"
    )
    assert found == {"a": expected}


def test_values_deep_inside_are_there():
    """However deep an object is, it has what it requires; a property that is a URL has one."""
    schemas: dict[str, Any] = {
        f"S{depth}": {
            "required": ["next"],
            "properties": {"next": {"$ref": f"#/components/schemas/S{depth + 1}"}},
        }
        for depth in range(4)
    }
    schemas["S4"] = {"required": ["image_url"], "properties": {"image_url": {"type": "string"}}}
    found = example_of(
        describe({"$ref": "#/components/schemas/S0"}, components={"schemas": schemas}), "/"
    )
    deepest = {"image_url": "https://example.org/"}
    assert found == {"next": {"next": {"next": {"next": deepest}}}}


def test_schema_that_contains_itself_ends():
    """An example goes only so deep."""
    node = {"required": ["next"], "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    metadata = describe(
        {"$ref": "#/components/schemas/Node"}, components={"schemas": {"Node": node}}
    )
    assert "next" in example_of(metadata, "/")


def test_query_has_what_an_endpoint_requires_there():
    """Parameters of the query that may be left out are left out."""
    parameters = [
        {"name": "word", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "times", "in": "query", "schema": {"type": "integer"}},
        {"name": "X-Key", "in": "header", "required": True},
    ]
    metadata = {"openapi": {"paths": {"/": {"post": {"parameters": parameters}}}}}
    assert query_of(metadata, "/") == "word=..."
    assert query_of({}, "/") == ""
    assert example_of({}, "/") is None


def test_websockets_are_realtime():
    """Paths with a protocol of their own are no endpoints that a POST reaches."""
    paths = {"/": {"post": {}}, "/talk": {"x-fal-protocol": {"type": "realtime"}, "post": {}}}
    assert realtime_paths({"openapi": {"paths": paths}}) == ["/talk"]
    assert realtime_paths({}) == []
