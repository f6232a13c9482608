"""Failures of nodes, and how a call ends by them."""

from __future__ import annotations

from fal_core.errors import Cancelled, HostError
from fal_core.events import Exited
from fal_core.facts import facts
from fal_core.reprs import in_one_line
from fal_core.sinks.call_sinks import HandlerFailed


@facts
class NodeFailed(HostError):
    """
    A node of a call that ran on several has failed, and the others were ended.

    Attributes:
        rank: The number of the node, from 0 on.

        reason: Why it has failed, as a sentence. The error itself is the cause.
    """

    rank: int
    reason: str

    def __str__(self) -> str:
        return f"Node {self.rank} has failed, and the call was ended on all: {self.reason}"


def end_by(rank: int, error: BaseException) -> Exited:
    """Return the end of a call whose node *rank* has failed with *error*."""
    if isinstance(error, (Cancelled, HandlerFailed)):
        # Not the node: somebody has ended the call.
        return Exited(reason=error)
    foreign = f"{type(error).__name__}: {in_one_line(error)}"
    reason = NodeFailed(rank, str(error) if isinstance(error, HostError) else foreign)
    reason.__cause__ = error
    return Exited(reason=reason)
