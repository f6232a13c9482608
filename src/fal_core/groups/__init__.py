"""Groups: calls that run on several nodes at once, as one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.groups.executions import launch_group as launch_group
    from fal_core.groups.failures import NodeFailed as NodeFailed
    from fal_core.groups.nodes import Preparation as Preparation
    from fal_core.groups.nodes import Prepared as Prepared
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.groups.executions": "launch_group",
            "fal_core.groups.failures": "NodeFailed",
            "fal_core.groups.nodes": "Preparation Prepared",
        },
    )
