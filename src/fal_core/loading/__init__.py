"""Loading: the isolated function that ``file.py::name`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.loading.targets import TargetError as TargetError
    from fal_core.loading.targets import load_target as load_target
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.loading.targets": "TargetError load_target",
        },
    )
