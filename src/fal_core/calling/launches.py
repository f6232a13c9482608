"""
Launches: what starts a call on its host, and how much of what the host does is checked.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from fal_core.errors import FalCoreError

if TYPE_CHECKING:
    from fal_core.calling.attempts import Launch
    from fal_core.calls import Call
    from fal_core.events import Sink
    from fal_core.hosts import Execution, Host

#: The variable that has every event of every host checked, but where it is 0.
STRICT_VARIABLE = "FAL_CORE_STRICT"


def find_launch(host: Host[..., Any], name: str) -> Launch:
    """
    Return what launches a call on *host*: with all its events checked, if that is asked.

    Arguments:
        name: What the host is called in messages.
    """
    launch: Launch = host.launch
    if os.environ.get(STRICT_VARIABLE, "0") not in ("", "0"):
        from fal_core.sinks.strict_sinks import launch_strictly

        launch = partial(launch_strictly, host, name)
    elif str(getattr(launch, "__module__", "")).startswith("fal_core."):
        # It names what the methods of a subclass raise by itself.
        return launch
    return partial(_launch, launch, name)


def _launch(launch: Launch, name: str, call: Call, sink: Sink) -> Execution:
    try:
        return launch(call, sink)
    except FalCoreError:
        raise
    except Exception as error:
        from fal_core.sinks.breaches import failure_of

        raise failure_of(name, "launch", error) from error
