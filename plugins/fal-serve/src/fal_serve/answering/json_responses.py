"""
Answers: values as JSON, whatever text and numbers a client has put in them.

JSON has no form for half of a surrogate pair but its escape, and none for what is no
finite number, which is null. Most answers have neither: they are looked through once
encoding them has failed.
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


class JSONAnswer(JSONResponse):
    """
    An answer that can hold any text and any number.
    """

    def render(self, content: Any) -> bytes:
        try:
            return super().render(content)
        except ValueError:
            return encode(content)


def encode(plain: Any) -> bytes:
    """
    Return *plain*, which is made of dictionaries, lists and the like, as one line of JSON.
    """
    try:
        text = _dumps(plain)
    except ValueError:
        text = _dumps(_finite(plain))
    # What is no text, such as half of a pair, stands in JSON as its escape.
    return text.encode("utf-8", "backslashreplace")


def encode_all(route: APIRoute) -> None:
    """
    Have *route*, whose answers have a type, encode those that pydantic does not.
    """
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

    # It is looked up on the field for each answer.
    field.serialize_json = serialize_json  # type: ignore[method-assign]


def dump(serialize: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """
    Return what *serialize*, a way of pydantic's, gives as dictionaries, lists and the like.
    """
    try:
        return serialize(*values, mode="json", **options)
    except UnicodeEncodeError:
        # The key of a dictionary has half of a pair.
        return jsonable_encoder(serialize(*values, mode="python", **options))


def _plain(field: Any, value: Any, options: dict[str, Any]) -> Any:
    try:
        return dump(field.serialize, value, **options)
    except ValueError:
        # Lists in lists may be deeper than pydantic looks, and are plain already.
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
