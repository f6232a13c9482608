"""Services on devices that their launcher has claimed for them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from queue import Queue
from typing import Any, ClassVar

import attrs
import pytest

from fal_core.calls import Call
from fal_core.claims import Claim, ClaimedHost, DevicesHeld, Want, claim_devices
from fal_core.environments import CurrentEnvironment
from fal_core.errors import HostClosed
from fal_core.events import Exited, Log, Sink
from fal_core.hosts import Execution
from fal_core.options import Gateway
from fal_core.sealing import seal_function
from fal_core.sealing.arguments import seal_arguments
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost
from fal_testing.harness.devices import gpu, machine_with
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

PATIENCE = 60.0
ONE = [Want(count=1)]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims and records of the test's own."""
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "devices"))
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def make_call(host: LocalHost, port: int, lifetime: Any) -> Call:
    """Return a call that prints its devices and its process, and then waits."""

    def serve() -> None:
        print("devices", os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid(), flush=True)
        # Until it is ended.
        time.sleep(600)

    seal = seal_function(serve)
    return Call(
        id=f"claimed-{lifetime}",
        name="serve",
        function=seal.sealed,
        arguments=seal_arguments(((), {}), seal),
        environment=CurrentEnvironment(),
        host_options=host.options(),
        gateway=Gateway(exposed_port=port),
        lifetime=lifetime,
    )


def is_free() -> bool:
    with machine_with(gpu(0)):
        try:
            claim_devices(ONE, wait=0).release()
        except DevicesHeld:
            return False
    return True


def claimed() -> Claim:
    with machine_with(gpu(0)):
        return claim_devices(ONE, wait=0)


def launch_on(host: LocalHost, claim: Claim, call: Call, sink: Sink) -> Execution:
    """Launch *call* on the devices of *claim*."""
    with host.on_claim(claim, call):
        return host.launch(call, sink)


def read(events: Queue[Any]) -> list[str]:
    """Return the words of the line that the call prints."""
    while True:
        event = events.get(timeout=PATIENCE)
        assert not isinstance(event, Exited), event
        if isinstance(event, Log) and event.message.startswith("devices"):
            return event.message.split()[1:]


@pytest.mark.parametrize("lifetime", ["attached", "detached"])
def test_a_service_has_the_devices_until_it_is_killed(
    host: LocalHost, port: int, lifetime: str
) -> None:
    """
    It sees the devices of the claim, though it asks for none, and nobody else gets them;
    they are free once it has been killed.
    """
    events: Queue[Any] = Queue()
    launch_on(host, claimed(), make_call(host, port, lifetime), events.put)
    uuid, pid = read(events)
    assert uuid == "GPU-0"
    assert not is_free()
    os.kill(int(pid), signal.SIGKILL)
    assert wait_until(is_free, PATIENCE)


@pytest.mark.parametrize("lifetime", ["attached", "detached"])
def test_a_service_that_is_ended_frees_its_devices(
    host: LocalHost, port: int, lifetime: str
) -> None:
    """They are free once it was cancelled, at whatever moment."""
    events: Queue[Any] = Queue()
    execution = launch_on(host, claimed(), make_call(host, port, lifetime), events.put)
    execution.cancel(0.0)
    while not isinstance(events.get(timeout=PATIENCE), Exited):
        pass
    assert wait_until(is_free, PATIENCE)


def test_a_claim_is_given_up_where_nothing_is_launched(host: LocalHost, port: int) -> None:
    """A host that raises has given the claim up."""
    host.close()
    with pytest.raises(HostClosed):
        launch_on(host, claimed(), make_call(host, port, "attached"), lambda _: None)
    assert is_free()


def test_a_claim_is_given_up_where_another_host_launches(host: LocalHost, port: int) -> None:
    """A claim that no launch has taken is given up at the end of its context."""
    with host.on_claim(claimed(), make_call(host, port, "attached")):
        assert not is_free()
    assert is_free()


@pytest.mark.parametrize("lifetime", ["attached", "detached"])
def test_a_service_on_a_host_around_the_host_has_the_devices(
    host: LocalHost, port: int, lifetime: str
) -> None:
    """The launch of a host around the host is used, and passes the claim on."""

    @attrs.define(eq=False, slots=False)
    class Around(WrapperHost[..., Any]):
        name: ClassVar[str] = "around"
        launched: int = 0

        def launch(self, call: Call, sink: Sink) -> Execution:
            self.launched += 1
            return self.inner.launch(call, sink)

    around = Around(host)
    ability = around.ability(ClaimedHost)
    assert ability is not None
    events: Queue[Any] = Queue()
    call = make_call(host, port, lifetime)
    with ability.on_claim(claimed(), call):
        execution = around.launch(call, events.put)
    assert read(events)[0] == "GPU-0"
    assert not is_free()
    assert around.launched == 1
    execution.cancel(0.0)
    assert wait_until(is_free, PATIENCE)
