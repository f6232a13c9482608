"""Abilities: what is asked of hosts that can do more than run calls."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from fal_core.abilities import (
    AnticipatingHost,
    DetachingHost,
    EnforcingHost,
    ExecutionStatus,
    MeasuringHost,
    Usage,
    detaching,
)
from fal_core.errors import UnsupportedError
from fal_core.wrappers import WrapperHost
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


@attrs.define(eq=False, slots=False)
class Measured(InProcessHost, EnforcingHost, MeasuringHost):
    """A host that measures and enforces, without doing so."""

    enforces: bool = False
    measures: bool = False

    def enforcing(self):
        return attrs.evolve(self, enforces=True)

    def measuring(self):
        return attrs.evolve(self, measures=True)

    def read_usage(self):
        return Usage(memory=7 if self.measures else 0)


@attrs.define(eq=False, slots=False)
class Around(WrapperHost[..., Any]):
    """A host around a host."""

    name: ClassVar[str] = "around"

    def launch(self, call, sink):
        return self.inner.launch(call, sink)


class Forgoing(Around):
    """A host around a host that cannot keep what is measured."""

    def ability(self, kind):
        return None if kind is MeasuringHost else super().ability(kind)


def test_a_host_around_a_host_has_its_abilities_and_no_more() -> None:
    """It passes on those of the inner host, also through another one, and has none itself."""
    inner = Measured()
    around = Around(Around(inner))
    assert around.ability(DetachingHost) is None
    assert around.ability(AnticipatingHost) is None
    assert around.ability(EnforcingHost) is not None
    assert around.ability(Measured) is inner


def test_what_is_made_of_a_wrapped_host_is_wrapped() -> None:
    """A host that enforces or measures, made of a host around one, is such a host as well."""
    enforcing = Around(Measured()).ability(EnforcingHost)
    assert enforcing is not None
    host = enforcing.enforcing()
    assert isinstance(host, Around)
    assert isinstance(host.inner, Measured)
    assert (host.inner.enforces, host.inner.measures) == (True, False)
    measuring = host.ability(MeasuringHost)
    assert measuring is not None
    host = measuring.measuring()
    assert isinstance(host, Around)
    reader = host.ability(MeasuringHost)
    assert reader is not None
    assert reader.read_usage().memory == 7


def test_a_host_around_a_host_can_decline() -> None:
    """An ability that it declines is not had through another host around it either."""
    around = Around(Forgoing(Measured()))
    assert around.ability(MeasuringHost) is None
    assert around.ability(EnforcingHost) is not None
