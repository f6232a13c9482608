"""
Launches: what starts a call on its host, and how much of what the host does is checked.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_core.calling.attempts import Launch
    from fal_core.hosts import Host

#: The variable that has every event of every host checked, but where it is 0.
STRICT_VARIABLE = "FAL_CORE_STRICT"


def find_launch(host: Host[..., Any], name: str) -> Launch:
    """
    Return what launches a call on *host*: with all its events checked, if that is asked.

    Arguments:
        name: What the host is called in messages.
    """
    if os.environ.get(STRICT_VARIABLE, "0") in ("", "0"):
        return host.launch
    from fal_core.sinks.strict_sinks import launch_strictly

    return partial(launch_strictly, host, name)
