"""
What OpenAPI documents say of endpoints.
"""

from __future__ import annotations

from typing import Any

from fal_host_serverless.deploying.openapi_documents import (
    example_of,
    query_of,
    realtime_paths,
)


def describe(schema: Any, **document: Any) -> dict[str, Any]:
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    return {"openapi": {"paths": {"/": {"post": operation}}, **document}}


def test_example_has_what_an_endpoint_requires():
    """
    Required properties have their default or first example, or a value of their type.
    """
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


def test_schema_that_contains_itself_ends():
    """
    An example goes only so deep.
    """
    node = {"required": ["next"], "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    metadata = describe(
        {"$ref": "#/components/schemas/Node"}, components={"schemas": {"Node": node}}
    )
    assert "next" in example_of(metadata, "/")


def test_query_has_what_an_endpoint_requires_there():
    """
    Parameters of the query that may be left out are left out.
    """
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
    """
    Paths with a protocol of their own are no endpoints that a POST reaches.
    """
    paths = {"/": {"post": {}}, "/talk": {"x-fal-protocol": {"type": "realtime"}, "post": {}}}
    assert realtime_paths({"openapi": {"paths": paths}}) == ["/talk"]
    assert realtime_paths({}) == []
