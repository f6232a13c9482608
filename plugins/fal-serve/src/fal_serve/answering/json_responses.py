"""
JSON responses that can hold any text and any number.

JSON can hold half of a surrogate pair only as an escape, and has no form for a number
that is not finite, which becomes null. Few values contain either, so that they are
searched only once encoding has failed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute
from pydantic_core import PydanticSerializationError
from starlette.responses import JSONResponse


class LenientJSONResponse(JSONResponse):
    """A JSON response that can hold any text and any number."""

    def render(self, content: Any) -> bytes:
        try:
            return super().render(content)
        except ValueError:
            return encode(content)


def encode(plain: Any) -> bytes:
    """Return *plain*, made of dictionaries, lists and scalars, as one line of JSON."""
    try:
        text = _dumps(plain)
    except ValueError:
        text = _dumps(_finite(plain))
    # Half of a surrogate pair cannot be encoded, and is written as its escape.
    return text.encode("utf-8", "backslashreplace")


def encode_leniently(route: APIRoute) -> None:
    """Have the typed outputs of *route* encoded even where pydantic refuses to."""
    field = route.response_field
    if field is None:
        return
    serialize = field.serialize_json

    def serialize_json(value: Any, **options: Any) -> bytes:
        try:
            return serialize(value, **options)
        except PydanticSerializationError as error:
            try:
                return encode(_plain(field, value, options))
            except (TypeError, RecursionError):
                raise error from None

    # On this route's own field: FastAPI has no public place for how a typed output is
    # encoded, and a response class of ours would lose pydantic's fast encoder.
    field.serialize_json = serialize_json  # type: ignore[method-assign]


def dump(serialize: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """Return what pydantic's *serialize* gives, as dictionaries, lists and scalars."""
    try:
        return serialize(*values, mode="json", **options)
    except UnicodeEncodeError:
        # A key of a dictionary has half of a surrogate pair.
        return jsonable_encoder(serialize(*values, mode="python", **options))


def _plain(field: Any, value: Any, options: dict[str, Any]) -> Any:
    try:
        return dump(field.serialize, value, **options)
    except ValueError:
        # Nested lists may be deeper than pydantic's limit. They are plain already.
        return value


def _dumps(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(plain: Any) -> Any:
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, dict):
        return {_key(key): _finite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    return plain


def _key(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
