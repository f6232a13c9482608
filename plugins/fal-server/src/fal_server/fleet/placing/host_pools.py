"""Host pools: the hosts of a server, and which of them a runner is launched on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from fal_core.abilities import TunnellingHost
from fal_core.capacities import Capacity, CountingHost, NodeCapacity
from fal_core.claims import ClaimedHost
from fal_core.errors import FalCoreError, OptionError
from fal_core.events import Log
from fal_core.hosts import Host
from fal_core.machines import Machine, count_cpus, resolve_machine
from fal_server.devices.device_lines import DeviceLine
from fal_server.devices.inventories import Inventory
from fal_server.fleet.placing.ways import Way
from fal_server.fleet.runners import Runner
from fal_server.fleet.scheduling import NotWanted, Scheduler, enforcing
from fal_server.fleet.seclusion import Seclusion
from fal_server.specs.runner_specs import RunnerSpec

logger = logging.getLogger(__name__)

#: Seconds for which what a host has told of its machines is good enough: less than it takes
#: until a request is refused whose runners do not start.
_FRESH = 1.0
#: Seconds after which a host is asked again that could not tell.
_AGAIN = 5.0
#: Seconds between two looks at whether a runner is wanted that waits for a host.
_LOOK = 0.5


@attrs.frozen(eq=False)
class FleetHost:
    """
    One host that runners are launched on.

    Attributes:
        way: How its runners are reached.

        seclusion: How they are kept out of the reach of local users.

        scheduler: Gives them the devices of this machine.

        runners: Those that are on it and have not ended.
    """

    host: Host[Any, Any]
    way: Way
    seclusion: Seclusion
    scheduler: Scheduler
    runners: set[Runner] = attrs.field(factory=set)
    _told: dict[str, tuple[float, Capacity | None, str]] = attrs.field(factory=dict)

    def take(self, runner: Runner) -> None:
        """Note that *runner* is on this host."""
        runner.way = self.way
        runner.is_url = self.seclusion.url_check(runner.spec, runner.id)
        if runner.is_alive:
            self.runners.add(runner)

    def read_capacity(self) -> tuple[Capacity | None, str]:
        """
        Return the capacity, or None if it is unknown, and the reason if the host cannot be
        asked, as a sentence. Such a host has no capacity. Asking may take a while.
        """
        until, capacity, problem = self._told.get("", (0.0, None, ""))
        if time.monotonic() >= until:
            fresh, said = _FRESH, problem
            try:
                capacity, problem = self._ask(), ""
            except FalCoreError as error:
                # The others go on without it, and it is asked again after a while.
                capacity, fresh = Capacity(), _AGAIN
                problem = f"Host {self.way.name} gets no runners: {error}"
                if problem != said:
                    logger.warning("%s", problem)
            self._told[""] = (time.monotonic() + fresh, capacity, problem)
        return capacity, problem

    def _ask(self) -> Capacity | None:
        counting = self.host.ability(CountingHost)
        if counting is not None:
            return counting.read_capacity()
        if self.host.ability(ClaimedHost) is None:
            return None
        inventory = self.scheduler.line.inventory
        if not inventory.can_look:
            return None
        inventory.look(_FRESH)
        devices = [each for each in inventory.visible if not each.partitioned]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        models: set[str | None] = {each.name for each in devices}
        return Capacity(
            nodes=tuple(
                NodeCapacity(
                    cpus=float(count_cpus()),
                    memory=memory,
                    gpus=sum(each.name == model for each in devices),
                    gpu_model=model,
                )
                for model in models or {None}
            ),
            free_gpus=float(len(devices) - self._used_gpus()),
        )

    def _used_gpus(self) -> int:
        wants = (self.scheduler.wants(each.spec)[:1] for each in self.runners)
        return sum(want.count for one in wants for want in one)


class HostPool:
    """
    The hosts of a server, in the order in which runners are given to them.

    Arguments:
        hosts: The hosts, by the names or the URLs that the server was told.

        make_sockets: Returns the directory for the sockets of runners on this machine.

        threads: Run what waits for devices.

        allows_open: Whether local users may reach applications that are not public.

        enforces: Whether runners are held to the limits of their machine types.

        sizes: The memory limits of machine types, in bytes.

    Raises:
        ServerError: One cannot hold runners to limits.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host[Any, Any]],
        make_sockets: Callable[[], Path],
        threads: ThreadPoolExecutor,
        *,
        allows_open: bool,
        enforces: bool,
        sizes: Mapping[str, int],
    ) -> None:
        self.line = DeviceLine(Inventory(), threads)
        self._threads = threads
        self.hosts: list[FleetHost] = []
        for name, given in hosts.items():
            host = enforcing(given) if enforces else given
            self.hosts.append(
                FleetHost(
                    host,
                    Way(name, host.ability(TunnellingHost)),
                    Seclusion(host, make_sockets, allows_open),
                    Scheduler(
                        host,
                        self.line,
                        enforces,
                        sizes,
                        # Where there are others, it waits for one that has what it needs;
                        # and a host of another machine tells what it lacks.
                        does_without=not enforces
                        and len(hosts) == 1
                        and host.ability(ClaimedHost) is not None,
                    ),
                )
            )

    @property
    def first(self) -> FleetHost:
        """The host that a runner is given to which fits nowhere: it tells why."""
        return self.hosts[0]

    def find(self, name: str | None) -> FleetHost | None:
        """
        Return the host of a name; None where it is not one of this server.

        Arguments:
            name: None for the only host that servers had before they had several.
        """
        if name is None:
            return self.first
        return next((each for each in self.hosts if each.way.name == name), None)

    def choose(self, spec: RunnerSpec) -> FleetHost:
        """
        Return the host for a runner: the first that has what its machine type needs free, or
        else the first that has it at all. Hosts may have to be asked, which takes a while.
        """
        return self._find(spec)[0]

    async def place(self, runner: Runner, *, must_fit: bool) -> FleetHost:
        """
        Return the host for *runner*, which is on it from then on. Where no other has what it
        needs, it waits for a host that cannot be asked now.

        Arguments:
            must_fit: Whether it is given up instead of waiting.

        Raises:
            NotWanted: It was told to end before.
        """
        loop, lifecycle = asyncio.get_running_loop(), runner.lifecycle
        has_waited = False
        while True:
            host, gone = await loop.run_in_executor(self._threads, self._find, runner.spec)
            if not gone:
                break
            if not lifecycle.may_start:
                raise NotWanted
            if lifecycle.unreached != gone:
                lifecycle.unreached, has_waited = gone, True
                runner.take(Log(lifecycle.waits_for, "INFO", "BRIDGE", time.time()))
                runner.changed(runner)
            if must_fit:
                runner.give_up(f"Host {gone} cannot be reached now. Try again later.")
            again = time.monotonic() + _AGAIN
            while lifecycle.may_start and time.monotonic() < again:
                await asyncio.sleep(_LOOK)
            if not lifecycle.may_start:
                raise NotWanted
        if has_waited:
            # What it takes to start does not include what it has waited.
            lifecycle.unreached = ""
            runner.was_started_at(time.time())
        host.take(runner)
        return host

    def _find(self, spec: RunnerSpec) -> tuple[FleetHost, str]:
        """
        Return the host for a runner, and the name of the one that cannot be asked whether it
        is that one. Empty where that is known.
        """
        if len(self.hosts) == 1:
            # It tells what it lacks as it launches, if it is there to tell.
            is_counting = self.first.host.ability(CountingHost) is not None
            is_gone = is_counting and self.first.read_capacity()[1]
            return self.first, self.first.way.name if is_gone else ""
        machines = [_machine_of(spec, each) for each in spec.machine_types or ("",)]
        possible: list[FleetHost] = []
        unknown = ""
        for machine in machines:
            for each in self.hosts:
                capacity, problem = each.read_capacity()
                unknown = unknown or (each.way.name if problem else "")
                if capacity is None or capacity.has(machine):
                    if capacity is None or capacity.has_free(machine):
                        return each, ""
                    possible.append(each)
        return (possible[0], "") if possible else (self.first, unknown)

    def check(self, spec: RunnerSpec, *, is_public: bool) -> None:
        """
        Check that nobody reaches the application *spec* who may not use it, on the host that
        it would be launched on now.

        Raises:
            OpenRunner: Every local user would.
        """
        self.choose(spec).seclusion.check(spec, is_public=is_public)

    def warn(self, spec: RunnerSpec) -> str:
        """Return what a client deploying *spec* is told about its port. Empty if that is nothing."""
        return self.choose(spec).seclusion.warn(spec)

    def crowding(self, present: Sequence[Runner], another: RunnerSpec) -> str:
        """
        Return why runners leave no room for another one, as a sentence. Empty where they do,
        or where this process cannot know.
        """
        host = self.choose(another)
        specs = [each.spec for each in present if each.way is host.way]
        return host.scheduler.crowding(specs, another)

    def forget(self, runner: Runner) -> None:
        """Note that *runner* has ended: another one may have what it had."""
        for each in self.hosts:
            each.runners.discard(runner)
        self.line.wake()

    async def look(self) -> None:
        """Find out what this machine has and can do."""
        for each in self.hosts:
            await each.seclusion.look()
        await self.first.scheduler.look()

    def drop_left(self, known: Collection[str]) -> None:
        """
        Remove what a server that was killed has left of all runners but those whose ids are
        *known*.
        """
        self.first.seclusion.drop_left(known)

    async def close(self) -> None:
        """End the attached runners."""
        await self.line.close()
        for each in self.hosts:
            await asyncio.get_running_loop().run_in_executor(None, each.host.close)


def _machine_of(spec: RunnerSpec, name: str) -> Machine:
    """
    Return what a runner of *spec* needs on a machine type. It needs nothing of one that
    nobody states.
    """
    machine = Machine(name=name)
    with contextlib.suppress(OptionError):
        machine = resolve_machine(name) if name else machine
    if spec.num_gpus is None:
        return machine
    return attrs.evolve(machine, gpus=spec.num_gpus)
