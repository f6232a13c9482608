"""What endpoints declare of their bills. It is published with a deployment, and not acted upon."""

from __future__ import annotations

import json
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable


class BillingComponents(TypedDict):
    """
    The billable components of an endpoint.

    Attributes:
        schema_id: Identifies the schema.

        app: The JSON schema of what the endpoint reports: an object.
    """

    version: Literal[1]
    schema_id: str
    app: dict[str, Any]


@runtime_checkable
class BillingDeclaration(Protocol):
    """Declares the billable components of an endpoint."""

    def declaration(self) -> BillingComponents:
        """Return them."""
        ...


def check_declaration(path: str, value: object) -> BillingComponents:
    """
    Return *value*, the declaration of the endpoint at *path*.

    Raises:
        ValueError: It is none.
    """
    reason = _find_mistake(value)
    if reason:
        raise ValueError(f"The bill of endpoint {path!r} {reason}.")
    return value  # type: ignore[return-value]  # it was checked


def _find_mistake(value: object) -> str:
    if not isinstance(value, dict) or set(value) != {"version", "schema_id", "app"}:
        return "has to be a dictionary of version, schema_id and app"
    if value["version"] != 1 or isinstance(value["version"], bool):
        return "has to have the version 1"
    if not isinstance(value["schema_id"], str) or not value["schema_id"]:
        return "has to have a text as its schema_id"
    if not isinstance(value["app"], dict) or value["app"].get("type") != "object":
        return "has to have the schema of an object as its app"
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        same = False
    return "" if same else "has to be JSON"
