"""Scheduling: which devices of this machine a runner gets, and when."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from fal_core.abilities import EnforcingHost
from fal_core.calls import Call
from fal_core.claims import Claim, ClaimedHost, Want, wants_of, why_missing
from fal_core.events import Log, Sink
from fal_core.hosts import Execution, Host
from fal_core.options import HostOptions
from fal_server.devices.capacities import Use, describe_crowding
from fal_server.devices.device_lines import DeviceLine
from fal_server.errors import ServerError
from fal_server.fleet.runners import Runner
from fal_server.specs.memory import memory_of
from fal_server.specs.runner_specs import RunnerSpec

logger = logging.getLogger(__name__)

#: Seconds for which what drivers have told is good enough for a warning.
_FRESH = 10.0


class NotWanted(Exception):
    """A runner that waited for devices was told to end."""


@attrs.frozen
class Scheduler:
    """
    Gives the devices of this machine to runners. On a host of another machine, that host
    does so itself.

    Attributes:
        line: The runners that wait.

        enforces: Whether runners are held to the limits of their machine types.

        sizes: The memory of machine types, in bytes, where it is not what plugins state.

        does_without: Whether runners that ask for GPUs run without where this machine has
            never had any.
    """

    host: Host[Any, Any]
    line: DeviceLine
    enforces: bool
    sizes: Mapping[str, int]
    does_without: bool = False
    _told: set[str] = attrs.field(factory=set, init=False)

    async def look(self) -> None:
        """Find out which devices this machine has."""
        await asyncio.to_thread(self.line.inventory.look)

    def wants(self, spec: RunnerSpec) -> Sequence[Want]:
        """
        Return what a runner asks for, of several any one; empty where that is not for this
        server to give.
        """
        if self.host.ability(ClaimedHost) is None:
            return ()
        wants = _wants_of(spec)
        if not _asks(wants):
            return wants
        # Where nobody finds devices, nobody knows what there is to give.
        if not self.line.inventory.can_look:
            return ()
        return [attrs.evolve(want, count=0) for want in wants] if self._goes_without else wants

    @property
    def _goes_without(self) -> bool:
        inventory = self.line.inventory
        return self.does_without and inventory.can_look and inventory.is_bare

    async def claim(self, runner: Runner, *, must_fit: bool) -> Claim | None:
        """
        Return what a runner runs on, once it can be had. None where its host decides.

        Arguments:
            must_fit: Whether it is given up where this machine has no such devices.

        Raises:
            NotWanted: It was told to end before.
        """
        if self._goes_without and _asks(asked := _wants_of(runner.spec)):
            # A driver may have come.
            await asyncio.to_thread(self.line.inventory.look, _FRESH)
            if self._goes_without:
                self._tell(runner, f"{why_missing(asked, ())} It runs without a GPU.")
        wants = self.wants(runner.spec)
        if not wants:
            return None
        if not _asks(wants):
            return self._limited(Claim(machine=wants[0].machine))

        def changed() -> None:
            runner.take(Log(turn.reason, "INFO", "BRIDGE", time.time()))
            if must_fit and not turn.is_possible:
                runner.give_up(turn.reason)
            runner.changed(runner)

        turn = runner.lifecycle.turn = self.line.enter(wants, changed)
        if not runner.lifecycle.may_start:
            turn.leave()
        claim = await turn.claim
        if claim is None:
            raise NotWanted
        if turn.reason:
            runner.take(Log(turn.waited, "INFO", "BRIDGE", time.time()))
        if claim.machine is not None:
            runner.spec = runner.spec.on(claim.machine.name)
        # What it takes to start does not include what it has waited.
        runner.was_started_at(time.time())
        return self._limited(claim)

    def launch(self, claim: Claim | None, call: Call, sink: Sink) -> Execution:
        """Launch a call on what was claimed for it."""
        claimed = self.host.ability(ClaimedHost)
        if claim is None or claimed is None:
            return self.host.launch(call, sink)
        with claimed.on_claim(claim, call):
            return self.host.launch(call, sink)

    def crowding(self, present: Sequence[RunnerSpec], another: RunnerSpec) -> str:
        """
        Return why runners leave no room on this machine for another one, as a sentence. Empty
        where they do, or where this process cannot know.
        """
        if self.host.ability(ClaimedHost) is None or not present:
            return ""
        uses = self._use(present), self._use([another])
        self.line.inventory.look(_FRESH)
        devices = self.line.inventory.visible
        return describe_crowding(*uses, sum(not each.partitioned for each in devices))

    def _use(self, specs: Sequence[RunnerSpec]) -> Use:
        memory = (
            memory_of(spec.machine_type, self.sizes, stated=self.enforces) for spec in specs
        )
        wants = (self.wants(spec)[:1] for spec in specs)
        return Use(
            sum(each or 0 for each in memory), sum(want.count for one in wants for want in one)
        )

    def _limited(self, claim: Claim) -> Claim:
        """Return *claim* with the limits of its machine type, or without any."""
        machine = claim.machine if self.enforces else None
        if machine is not None and machine.name in self.sizes:
            machine = attrs.evolve(machine, memory=self.sizes[machine.name])
        return attrs.evolve(claim, machine=machine)

    def _tell(self, runner: Runner, sentence: str) -> None:
        """Tell those who read the log of a runner, and once the operator."""
        runner.take(Log(sentence, "WARNING", "BRIDGE", time.time()))
        if sentence not in self._told:
            self._told.add(sentence)
            logger.warning("Runner %s: %s", runner.id, sentence)

    def options(self, spec: RunnerSpec, claim: Claim | None) -> dict[str, Any]:
        """Return the options by which a host is asked for what it decides itself."""
        is_elsewhere = self.host.ability(ClaimedHost) is None
        if claim is not None or not (is_elsewhere or self.enforces):
            return {}
        return {"machine_types": spec.machine_types or None, "num_gpus": spec.num_gpus}

    def memory(self, spec: RunnerSpec, claim: Claim | None) -> int | None:
        """
        Return the memory limit that the agent of a runner keeps itself, in bytes. None where
        it keeps none.
        """
        if claim is not None and claim.machine is not None:
            return None
        return self.sizes.get(spec.machine_type)


def enforcing(host: Host[Any, Any]) -> Host[Any, Any]:
    """
    Return a host like *host* that holds calls to the limits of their machine types.

    Raises:
        ServerError: It cannot.
    """
    found = host.ability(EnforcingHost)
    if found is not None:
        return found.enforcing()
    raise ServerError(f"Host {host.name!r} cannot hold runners to limits: leave --enforce out.")


def _wants_of(spec: RunnerSpec) -> Sequence[Want]:
    return wants_of(
        HostOptions(machine_types=spec.machine_types or None, num_gpus=spec.num_gpus)
    )


def _asks(wants: Sequence[Want]) -> bool:
    return any(want.count for want in wants)
