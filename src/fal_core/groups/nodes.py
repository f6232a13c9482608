"""The nodes of a group, from when they are asked for until their part of the call has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs

from fal_core.calling.late_executions import LateExecution
from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_core.reprs import show_fields


def _keep() -> None:
    """Release nothing: there is nothing to give back."""


@attrs.frozen(kw_only=True)
class Preparation:
    """
    What a host is given to get one node of a group.

    Attributes:
        call: The call of the group.

        rank: The number of the node.

        report: Takes the phases of this node, and the lines that tell how it gets there.

        cancelled: Set once the node is not wanted any more, as the call was cancelled or
            another node cannot be had.
    """

    __repr__ = show_fields

    call: Call
    rank: int
    report: Sink
    cancelled: threading.Event


@attrs.frozen(kw_only=True)
class Prepared:
    """
    A node that is there and waits: nothing of the function runs on it.

    Exactly one of *launch* and *release* is called, once.

    Attributes:
        address: Where the other nodes reach it: a host name or an IP address.

        launch: Starts the call on it, as the ``launch`` of a host does.

        release: Gives the node back, as the group does not start.
    """

    __repr__ = show_fields

    address: str
    launch: Callable[[Call, Sink], Execution]
    release: Callable[[], None] = _keep


class GroupNode:
    """
    One node of a group, and what has become of its part of the call.

    Attributes:
        execution: Its part of the call; requests before that is launched are kept.

        prepared: The node, once it is there.

        phase: The number of the last phase that it has entered.

        returned: Whether its function has returned.

        ended: Whether its part has ended.
    """

    def __init__(self, rank: int, reference: str) -> None:
        self.rank = rank
        self.execution: LateExecution = LateExecution(reference)
        self.prepared: Prepared | None = None
        self.phase = -1
        self.returned = False
        self.ended = False
