"""Conversion: values that users write, made into strictly typed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.conversion.structuring import structure as structure
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.conversion.structuring": "structure",
        },
    )
