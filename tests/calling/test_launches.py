"""
Launches: what a host raises before a call runs names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.errors import HostClosed, HostError
from fal_core.events import Sink
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.testing import InProcessHost


@attrs.define(eq=False, slots=False)
class RaisingHost(Host[..., Any]):
    """
    A host whose launch raises.
    """

    name: ClassVar[str] = "raising"
    capabilities: ClassVar[Capabilities] = Capabilities(kinds=None, stream=True)

    error: Exception
    count: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.count += 1
        raise self.error


@attrs.define(eq=False, slots=False)
class CheckingHost(InProcessHost):
    """
    A host whose check raises.
    """

    name: ClassVar[str] = "checking"

    def check(self, *given: Any, **more: Any) -> None:
        raise KeyError("token")


def double(number: int) -> int:
    return 2 * number


WAYS: dict[str, Callable[[Any], Any]] = {
    "call": lambda call: call(1),
    "submit": lambda call: call.submit(1).result(30),
    "spawn": lambda call: call.spawn(1).return_value,
    "map": lambda call: list(call.map([1])),
}


@pytest.mark.parametrize("strict", ["0", "1"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_launch_raises_names_the_host(
    monkeypatch: pytest.MonkeyPatch, way: str, strict: str
) -> None:
    """
    An error that is none of fal-core's is the cause of a HostError that names the host.
    """
    monkeypatch.setenv("FAL_CORE_STRICT", strict)
    error = KeyError("token")
    with pytest.raises(HostError) as caught:
        WAYS[way](function("current", host=RaisingHost(error))(double))
    assert str(caught.value) == "Host 'raising': its launch raised KeyError: 'token'."
    assert caught.value.__cause__ is error


def test_a_launch_that_says_what_is_wrong_is_left_alone() -> None:
    """
    An error of fal-core is raised as it is.
    """
    closed = HostClosed("raising", "It is full.")
    with pytest.raises(HostClosed) as caught:
        function("current", host=RaisingHost(closed))(double)(1)
    assert caught.value is closed


def test_a_launch_that_raises_is_tried_again() -> None:
    """
    Whatever a host raises, its call has as many attempts as it may.
    """
    host = RaisingHost(OSError("no route"))
    with pytest.raises(HostError, match="OSError: no route"):
        function("current", host=host, retries=2)(double)(1)
    assert host.count == 3


def test_what_a_check_raises_names_the_host() -> None:
    """
    So it is with the check of a host.
    """
    with pytest.raises(HostError) as caught:
        function("current", host=CheckingHost())(double)(1)
    assert str(caught.value) == "Host 'checking': its check raised KeyError: 'token'."
    assert isinstance(caught.value.__cause__, KeyError)
