"""Unsupported options: what users are told of options that have no effect where a call runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import pytest

from fal_core.abilities import ConditionalHost
from fal_core.calls import Call
from fal_core.decorators import function
from fal_core.environments import Environment
from fal_core.errors import UnsupportedError
from fal_core.events import Sink
from fal_core.explanations import explain
from fal_core.hosts import Capabilities, Execution
from fal_core.options import HostOptions
from fal_core.wrappers import WrapperHost
from fal_testing.hosts.in_process import InProcessHost

REASON = "There is no rack here."


@attrs.define(eq=False, slots=False)
class RackHost(InProcessHost, ConditionalHost):
    """Acts on machine types, if it is asked for none that needs a rack."""

    name: ClassVar[str] = "racks"
    capabilities: ClassVar[Capabilities] = attrs.evolve(
        InProcessHost.capabilities, options=frozenset({"machine_type"})
    )

    def unmet(self, options: HostOptions, environment: Environment) -> Mapping[str, str]:
        needs_rack = "GPU-H100" in options.machine_names
        return {"machine_type": REASON} if needs_rack else {}


@attrs.define(eq=False, slots=False)
class PassingHost(WrapperHost[..., Any]):
    """Passes everything on."""

    name: ClassVar[str] = "passing"

    def launch(self, call: Call, sink: Sink) -> Execution:
        return self.inner.launch(call, sink)


HOSTS = [RackHost(), PassingHost(RackHost())]


@pytest.mark.parametrize("host", HOSTS, ids=["itself", "wrapped"])
def test_the_reason_is_told_once(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that cannot act on an option here says why, once for each function."""
    give = function("current", host=host, machine_type="GPU-H100")(lambda: 1)
    assert [give(), give()] == [1, 1]
    said = capsys.readouterr().err
    assert said.count(REASON) == 1
    assert f"Host {host.name!r} does not use option 'machine_type' of" in said
    assert function("current", host=host, machine_type="XS")(lambda: 2)() == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("host", HOSTS, ids=["itself", "wrapped"])
def test_the_reason_is_in_the_error(host: Any) -> None:
    """With ``on_unsupported='error'`` the call is refused, for that reason."""
    give = function("current", host=host, machine_type="GPU-H100", on_unsupported="error")
    with pytest.raises(UnsupportedError, match=r"use option 'machine_type'\. There is no rack"):
        give(lambda: 1)()


def test_the_reason_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """An explanation has the reason beside the option; nothing is said for ``ignore``."""
    give = function("current", host=HOSTS[0], machine_type="GPU-H100", on_unsupported="ignore")
    isolated = give(lambda: 1)
    [use] = [each for each in explain(isolated).options if each.name == "machine_type"]
    assert (use.use, use.why) == ("kept", REASON)
    assert isolated() == 1
    assert capsys.readouterr().err == ""
