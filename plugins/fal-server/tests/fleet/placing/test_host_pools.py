"""Which of several hosts a runner is launched on."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core.abilities import Tunnel, TunnellingHost
from fal_core.calls import Call
from fal_core.capacities import Capacity, CountingHost, NodeCapacity
from fal_core.environments import CurrentEnvironment
from fal_core.errors import HostError
from fal_core.events import Log, Sink
from fal_core.hosts import Execution, Host
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost
from fal_server.fleet.placing import host_pools
from fal_server.fleet.placing.host_pools import HostPool
from fal_server.fleet.scheduling import NotWanted
from fal_server.fleet.states import Lifecycle, RunnerPhase
from fal_server.specs.runner_specs import RunnerSpec
from fal_testing import InProcessHost

needs_machines = pytest.mark.skipif(
    importlib.util.find_spec("fal_machines") is None,
    reason="GPU-A100 is a machine type of fal-machines.",
)


@attrs.define(eq=False, slots=False)
class Counted(InProcessHost, CountingHost, TunnellingHost):
    """A host of other machines, which has what it is given."""

    capacity: Capacity = attrs.field(factory=Capacity)

    def read_capacity(self) -> Capacity:
        return self.capacity

    def find_tunnel(self, url: str) -> Tunnel | None:
        return None


@attrs.define(eq=False, slots=False)
class Gone(Counted):
    """A host that cannot be asked, until it is there again."""

    is_gone: bool = True

    def read_capacity(self) -> Capacity:
        if self.is_gone:
            raise HostError("The cluster is gone.")
        return self.capacity


def node(gpus: int = 0, model: str | None = None) -> NodeCapacity:
    return NodeCapacity(cpus=64, memory=1 << 40, gpus=gpus, gpu_model=model)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as opened:
        yield opened


def choose(
    threads: ThreadPoolExecutor, hosts: Mapping[str, Host[Any, Any]], *types: str, **more: Any
) -> str:
    """Return the name of the host for a runner that asks for machine types."""
    pool = HostPool(
        hosts, lambda: Path("unused"), threads, allows_open=False, enforces=False, sizes={}
    )
    spec = RunnerSpec(name="one", owner="me", environment=CurrentEnvironment(), **more)
    return pool.choose(spec.on(*types)).way.name


@needs_machines
def test_runner_goes_where_its_gpus_are(threads: ThreadPoolExecutor):
    """
    A host is chosen that has the model and the number of GPUs of the machine type, and of
    several machine types the preferred one.
    """
    hosts = {
        "plain": Counted(capacity=Capacity(nodes=(node(),))),
        "small": Counted(capacity=Capacity(nodes=(node(1, "A100"), node(1, "A100")))),
        "large": Counted(capacity=Capacity(nodes=(node(8, "H100"),))),
    }
    assert choose(threads, hosts) == "plain"
    assert choose(threads, hosts, "XS") == "plain"
    assert choose(threads, hosts, "GPU-A100") == "small"
    # No machine of that host has two.
    assert choose(threads, hosts, "GPU-A100", num_gpus=2) == "plain"
    assert choose(threads, hosts, "GPU-H100", num_gpus=2) == "large"
    assert choose(threads, hosts, "GPU-H100", "GPU-A100") == "large"
    assert choose(threads, hosts, "GPU-L40", "GPU-A100") == "small"


@needs_machines
def test_runner_goes_where_there_is_room(threads: ThreadPoolExecutor):
    """
    A host that has what is needed free comes before one that is full, and a full one before
    one that never has it.
    """
    full = Capacity(nodes=(node(1, "A100"),), free_cpus=64, free_gpus=0)
    busy = Capacity(nodes=(node(1, "A100"),), free_cpus=0, free_gpus=1)
    hosts = {
        "never": Counted(capacity=Capacity(nodes=(node(),))),
        "full": Counted(capacity=full),
        "busy": Counted(capacity=busy),
    }
    assert choose(threads, hosts, "GPU-A100") == "full"
    free = Counted(capacity=attrs.evolve(full, free_gpus=1))
    assert choose(threads, {**hosts, "free": free}, "GPU-A100") == "free"


@needs_machines
def test_host_that_does_not_count_is_taken_at_its_word(threads: ThreadPoolExecutor):
    """A host that does not tell what it has may have it; the only one is never asked."""
    hosts = {"plain": Counted(capacity=Capacity(nodes=(node(),))), "mute": InProcessHost()}
    assert choose(threads, hosts, "GPU-A100") == "mute"
    assert choose(threads, {"plain": hosts["plain"]}, "GPU-A100") == "plain"


class Waiting:
    """What a pool sees of a runner."""

    def __init__(self, *types: str) -> None:
        spec = RunnerSpec(name="one", owner="me", environment=CurrentEnvironment())
        self.id, self.spec, self.is_alive = "one", spec.on(*types), True
        self.lifecycle = Lifecycle(lambda: None)
        self.said: list[str] = []
        self.changes = 0
        self.started = False

    def take(self, event: Log) -> None:
        self.said.append(event.message)

    def changed(self, runner: Waiting) -> None:
        self.changes += 1

    def was_started_at(self, when: float) -> None:
        self.started = True

    def give_up(self, reason: str) -> None:
        self.said.append(reason)
        self.lifecycle.enter(RunnerPhase.GIVEN_UP)


def place(
    threads: ThreadPoolExecutor,
    hosts: Mapping[str, Host[Any, Any]],
    runner: Waiting,
    heard: Callable[[], None] = lambda: None,
    *,
    must_fit: bool = False,
) -> str:
    """Place *runner*; *heard* is called once it waits."""

    async def main() -> str:
        pool = HostPool(
            hosts, lambda: Path("unused"), threads, allows_open=False, enforces=False, sizes={}
        )
        placing = asyncio.ensure_future(pool.place(runner, must_fit=must_fit))  # type: ignore[arg-type]  # a part of one
        while not (runner.said or placing.done()):
            await asyncio.sleep(0.01)
        heard()
        return (await placing).way.name

    return asyncio.run(main())


def test_host_that_cannot_be_asked_gets_no_runner(threads: ThreadPoolExecutor):
    """The others get the runners that they have room for."""
    hosts = {"gone": Gone(), "plain": Counted(capacity=Capacity(nodes=(node(),)))}
    assert choose(threads, hosts, "XS") == "plain"
    runner = Waiting("XS")
    assert place(threads, hosts, runner) == "plain"
    assert not runner.said


@needs_machines
@pytest.mark.parametrize("alone", [True, False])
def test_runner_waits_for_a_host_that_cannot_be_asked(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, alone: bool
):
    """
    Where no other has what it needs, a runner is launched once that host can be asked again.
    It says for which host it waits, once, and nothing that the host says of itself.
    """
    monkeypatch.setattr(host_pools, "_AGAIN", 0.05)
    monkeypatch.setattr(host_pools, "_LOOK", 0.01)
    gone = Gone(capacity=Capacity(nodes=(node(1, "A100"),)))
    plain = {} if alone else {"plain": Counted(capacity=Capacity(nodes=(node(),)))}

    def come_back() -> None:
        assert (runner.lifecycle.is_waiting, runner.lifecycle.waits_for) == (True, said)
        gone.is_gone = False

    runner, said = Waiting("GPU-A100"), "It waits for host gone, which cannot be reached now."
    assert place(threads, {**plain, "gone": gone}, runner, come_back) == "gone"
    assert runner.said == [said]
    assert (runner.lifecycle.is_waiting, runner.lifecycle.waits_for) == (False, "")
    assert (runner.changes, runner.started) == (1, True)


def test_runner_that_waits_for_a_host_is_told_to_end(threads: ThreadPoolExecutor):
    """It ends without having been launched."""
    runner = Waiting("GPU-A100")

    def end() -> None:
        runner.lifecycle.enter(RunnerPhase.KILLED)

    with pytest.raises(NotWanted):
        place(threads, {"gone": Gone()}, runner, end)
    assert not runner.lifecycle.is_waiting


def test_runner_that_must_not_wait_for_a_host_is_given_up(threads: ThreadPoolExecutor):
    """Whoever waits for a function is told at once that its host cannot be reached."""
    runner = Waiting("GPU-A100")
    with pytest.raises(NotWanted):
        place(threads, {"gone": Gone()}, runner, must_fit=True)
    assert runner.said[-1] == "Host gone cannot be reached now. Try again later."


@attrs.define(eq=False, slots=False)
class Around(WrapperHost[..., Any]):
    """A host around a host, which changes nothing."""

    name: ClassVar[str] = "around"

    def launch(self, call: Call, sink: Sink) -> Execution:
        return self.inner.launch(call, sink)


@needs_machines
@pytest.mark.parametrize("make", [LocalHost, Counted])
def test_runner_on_a_host_around_a_host_is_as_on_that_host(
    threads: ThreadPoolExecutor, make: Callable[[], Host[Any, Any]], tmp_path: Path
):
    """
    What a server asks of the host, what it gives out itself, and where runners are reached is
    the same.
    """

    def look(host: Host[Any, Any]) -> tuple[object, ...]:
        pool = HostPool(
            {"one": host},
            lambda: tmp_path,
            threads,
            allows_open=False,
            enforces=False,
            sizes={},
        )
        first = pool.first
        spec = RunnerSpec(name="one", owner="me", environment=CurrentEnvironment())
        spec = spec.on("GPU-A100")
        return (
            first.way.is_elsewhere,
            first.read_capacity(),
            first.scheduler.wants(spec),
            first.scheduler.options(spec, None),
            first.seclusion.problem(spec).replace("around", host_name),
            first.seclusion.own_network(spec),
            bool(first.seclusion.make_folder("runner")),
        )

    inner = make()
    host_name = inner.name
    assert look(Around(inner)) == look(inner)
