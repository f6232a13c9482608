"""
Loading: the isolated function that ``file.py::name`` stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.loading.targets import TargetError, load_target

__all__ = [
    "TargetError",
    "load_target",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "TargetError": "fal_core.loading.targets",
        "load_target": "fal_core.loading.targets",
    },
)
