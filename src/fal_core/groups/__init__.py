"""Groups: calls that run on several nodes at once, as one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.groups.executions import launch_group
    from fal_core.groups.failures import NodeFailed
    from fal_core.groups.nodes import Preparation, Prepared

__all__ = ["NodeFailed", "Preparation", "Prepared", "launch_group"]

_exports = lazily(
    __name__,
    {
        "NodeFailed": "fal_core.groups.failures",
        "Preparation": "fal_core.groups.nodes",
        "Prepared": "fal_core.groups.nodes",
        "launch_group": "fal_core.groups.executions",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
