"""Failures of nodes."""

from __future__ import annotations

import pickle

import pytest

from fal_core import NodeFailed
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import Exited
from fal_core.groups.failures import end_by


def test_the_error_names_the_node_and_says_why() -> None:
    """It is an error of the host, and crosses processes as others do."""
    lost = WorkerLost(3)
    reason = end_by(2, lost).reason
    assert isinstance(reason, NodeFailed)
    assert isinstance(reason, HostError)
    assert reason.__cause__ is lost
    assert str(pickle.loads(pickle.dumps(reason))) == (
        "Node 2 has failed, and the call was ended on all: "
        "The worker exited with code 3 before it answered."
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionError(), "ConnectionError: no reason was given"),
        (OSError("no\n  connection."), "OSError: no connection"),
    ],
)
def test_an_error_of_the_host_is_part_of_the_sentence(error: OSError, text: str) -> None:
    """What a host raises that is no ``HostError`` is told in one line, also without a message."""
    reason = end_by(0, error).reason
    assert isinstance(reason, NodeFailed)
    assert reason.reason == text


def test_a_call_that_is_cancelled_on_a_node_is_cancelled() -> None:
    """No node is to blame for that."""
    cancelled = Cancelled()
    assert end_by(1, cancelled) == Exited(reason=cancelled)
