"""
Modals: the types of realtime messages, the same for both ends.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError


def type_adapter(modal: Any) -> TypeAdapter[Any]:
    """
    Return what checks messages of type *modal*.
    """
    try:
        return TypeAdapter(modal)
    except (PydanticSchemaGenerationError, PydanticUserError):
        # A class that pydantic does not know, such as an array: its instances pass.
        return TypeAdapter(modal, config=ConfigDict(arbitrary_types_allowed=True))
