"""fal's extensions of FastAPI's OpenAPI documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.adapters import item_type

Document = dict[str, Any]


def complete(
    document: Document,
    websockets: Iterable[tuple[RouteSignature, Callable[..., Any]]],
    streams: Mapping[str, Callable[..., Any]],
) -> None:
    """
    Add the order of keys, the websockets, and the item types of streams to *document*.

    Arguments:
        streams: The handlers that are generators, by their paths.
    """
    _describe_streams(document, streams)
    _keep_order(document, "paths")
    for schema in document.get("components", {}).get("schemas", {}).values():
        _keep_order_of_properties(schema)
    for signature, handler in websockets:
        _describe_websocket(document, signature, handler)


def _keep_order(node: Document, key: str) -> None:
    if key in node:
        node[f"x-fal-order-{key}"] = list(node[key])


def _keep_order_of_properties(schema: Document) -> None:
    for part in schema.get("allOf", ()):
        _keep_order_of_properties(part)
    _keep_order(schema, "properties")


def _describe_streams(document: Document, streams: Mapping[str, Callable[..., Any]]) -> None:
    for path, handler in streams.items():
        schema = _schema_of(document, item_type(handler))
        answer = document["paths"][path]["post"]["responses"]["200"]
        answer["content"] = {"text/event-stream": {"schema": schema}}


def _schema_of(document: Document, annotation: Any) -> Document:
    """Return the schema of *annotation*, whose definitions are put into *document*."""
    try:
        schema = TypeAdapter(annotation).json_schema(
            ref_template="#/components/schemas/{model}", mode="serialization"
        )
    except (PydanticSchemaGenerationError, PydanticUserError):
        return {}
    definitions = schema.pop("$defs", {})
    if "title" in schema and isinstance(annotation, type):
        definitions[annotation.__name__] = schema
        schema = {"$ref": f"#/components/schemas/{annotation.__name__}"}
    if definitions:
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, definition in definitions.items():
            schemas.setdefault(name, definition)
    return schema


def _describe_websocket(
    document: Document, signature: RouteSignature, handler: Callable[..., Any]
) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    shown = getattr(handler, "original_func", handler)
    names = [
        _add_model(schemas, signature.input_modal, f"{shown.__name__}_input"),
        _add_model(schemas, signature.output_modal, f"{shown.__name__}_output"),
    ]
    path = document.setdefault("paths", {}).setdefault(signature.path, {})
    path["x-fal-protocol"] = _protocol(signature, shown)
    if "post" not in path and any(names):
        path["post"] = _mirror(signature, shown, *names)
    order = document.setdefault("x-fal-order-paths", [])
    if signature.path not in order:
        order.append(signature.path)


def _add_model(schemas: Document, model: Any, otherwise: str) -> str | None:
    """Add the schema of *model*, and return its name: *otherwise* if it is not a class."""
    if model is None:
        return None
    template = "#/components/schemas/{model}"
    try:
        schema = TypeAdapter(model).json_schema(ref_template=template)
    except (PydanticSchemaGenerationError, PydanticUserError):
        # A class that only a custom codec knows, such as an array.
        return None
    schemas.update(schema.pop("$defs", {}))
    name = model.__name__ if isinstance(model, type) and not get_args(model) else otherwise
    schemas[name] = schema
    return name


def _protocol(signature: RouteSignature, handler: Callable[..., Any]) -> Document:
    """Return the description of the protocol at a websocket route."""
    protocol: Document = {
        "type": "realtime" if signature.realtime_mode else "websocket",
        "operationId": handler.__name__,
        "config": {
            "buffering": signature.buffering,
            "sessionTimeout": signature.session_timeout,
            "maxBatchSize": signature.max_batch_size,
        },
    }
    if signature.content_type is not None:
        protocol["contentType"] = signature.content_type
    if signature.realtime_mode is not None:
        protocol["realtimeMode"] = signature.realtime_mode
    return protocol


def _mirror(
    signature: RouteSignature,
    handler: Callable[..., Any],
    taken: str | None,
    given: str | None,
) -> Document:
    """Return the messages of a websocket as a POST operation, which tools understand."""
    kind = "Realtime" if signature.realtime_mode else "WebSocket"
    operation: Document = {
        "operationId": f"{handler.__name__}_post",
        "summary": f"{kind} endpoint: {handler.__name__}",
        "description": handler.__doc__ or "",
    }
    if taken is not None:
        operation["requestBody"] = {"content": _json(taken)}
    description = "WebSocket message response"
    if given is None:
        operation["responses"] = {"204": {"description": description}}
    else:
        operation["responses"] = {"200": {"description": description, "content": _json(given)}}
    return operation


def _json(name: str) -> Document:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
