"""Abilities: what is asked of hosts that can do more than run calls."""

from __future__ import annotations

import attrs
import pytest

from fal_core.abilities import DetachingHost, ExecutionStatus, detaching
from fal_core.errors import UnsupportedError
from fal_testing import InProcessHost


def test_work_that_has_ended_is_in_no_other_phase() -> None:
    """Whatever phase it entered last, work that has ended says so, also after a change."""
    status = ExecutionStatus(reference="a", name="f", phase="running", started=1.0)
    assert status.phase == "running"
    ended = attrs.evolve(status, ended=True, end="returned")
    assert (ended.phase, ended.end) == ("ended", "returned")


def test_a_host_that_detaches_none_is_an_error() -> None:
    """A host that detaches work is asked for it; the error names the one that does not."""

    class Detaching(InProcessHost, DetachingHost):
        def attach(self, reference, sink, after=0):
            raise NotImplementedError

        def executions(self):
            return ()

    host = Detaching()
    assert detaching(host) is host
    with pytest.raises(UnsupportedError) as caught:
        detaching(InProcessHost())
    assert str(caught.value) == "Host 'in-process' cannot attach to detached work."
