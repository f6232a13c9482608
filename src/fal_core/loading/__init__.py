"""Loading: the isolated function that ``file.py::name`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.loading.targets import TargetError, load_target

__all__ = [
    "TargetError",
    "load_target",
]

_exports = lazily(
    __name__,
    {
        "TargetError": "fal_core.loading.targets",
        "load_target": "fal_core.loading.targets",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
