"""Places: where and how a worker of this machine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.environments import Command

if TYPE_CHECKING:
    from fal_core.claims import Claim
    from fal_core.errors import HostError
    from fal_core.machines import Machine
    from fal_core.workers import Worker
    from fal_host_local.limits.limits import WorkerLimits
    from fal_host_local.limits.meters import Meter
    from fal_host_local.workers.keepers import Keeper

#: Seconds that a worker which is measured may take to end.
_PATIENCE = 30.0


@attrs.define(eq=False)
class Placement:
    """
    Where and how a worker of this machine runs.

    Attributes:
        shares_memory: Whether large values go through shared memory.

        largest: The largest value that the worker may send, in bytes. None for any.

        claim: The devices of the worker. None for those of this process.

        given: Devices that the launcher has claimed for the first worker. None where the
            worker claims what its calls ask for.

        limits: What the worker may use. None for what this machine has.

        meter: Measures what the worker uses. None if nobody wants to know.

        enter_network: Returns the command that runs another one in a network of its own;
            None where the worker uses that of this machine.

        ports: Ports of this machine, each with the one of the worker that it leads to, where
            the environment has a network of its own.

        reached: Ports of the loopback address of this machine that a worker reaches whose
            interpreter joins a network which is made for it. None where none is made.
    """

    shares_memory: bool = True
    largest: int | None = None
    enter_network: Callable[[Command], Command] | None = None
    ports: Mapping[int, int] = attrs.field(factory=dict)
    claim: Claim | None = None
    given: Claim | None = None
    limits: WorkerLimits | None = None
    meter: Meter | None = None
    reached: Sequence[int] | None = None

    def take_given(self) -> Claim | None:
        """Return the devices that the launcher has claimed, unless a worker has taken them."""
        claim, self.given = self.given, None
        return claim

    def give_up(self) -> None:
        """Give up the devices that the launcher has claimed, if no worker has taken them."""
        claim = self.take_given()
        if claim is not None:
            claim.release()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which the worker uses its devices and no others."""
        return {} if self.claim is None else self.claim.variables

    @property
    def machine(self) -> Machine | None:
        """The machine type that was chosen with the devices. None where none was."""
        return None if self.claim is None else self.claim.machine

    @property
    def held(self) -> tuple[int, ...]:
        """The descriptors that the keeper has open while the worker lives."""
        return () if self.claim is None else self.claim.descriptors

    def confinement(self, command: Command) -> dict[str, Any] | None:
        """
        Return what the keeper is told of the limits.

        Raises:
            UnsupportedError: What it uses cannot be measured.
        """
        if self.meter is not None and command.stop_argv is not None:
            from fal_host_local.limits.meters import refuse_measuring

            raise refuse_measuring("container")
        told: dict[str, Any] | None = None if self.meter is None else {"groups": []}
        # What needs another command to end keeps to limits in its own way.
        if self.limits is not None and command.stop_argv is None:
            told = self.limits.confinement()
        return told and {**told, "measures": self.meter is not None}

    def judge(self, used: tuple[int, int, float], reason: HostError) -> HostError:
        """
        Return the error of a worker that has ended, with the limit that has ended it.

        Arguments:
            used: What its keeper says that it has used.
        """
        if self.limits is None or self.limits.machine is None:
            return reason
        from fal_host_local.limits.verdicts import judge

        peak, kills, _ = used
        return judge(self.limits.machine, peak, kills, reason)

    def measure(self, worker: Worker, keeper: Keeper, number: int) -> None:
        """Measure what *worker* uses, if its host does."""
        if self.meter is None:
            return
        from fal_core.abilities import Usage

        def used() -> Usage:
            keeper.wait(number, _PATIENCE)
            memory, _, spent = keeper.used(number)
            return Usage(memory=memory, processor_seconds=spent)

        self.meter.add(worker, used, () if self.claim is None else self.claim.devices)

    def enter(self, command: Command) -> Command:
        """
        Return *command* as it runs in the network of the worker.

        Raises:
            UnsupportedError: Its process would not be in it.
        """
        if self.enter_network is None:
            return command
        if command.stop_argv is None:
            return self.enter_network(command)
        from fal_core.errors import UnsupportedError

        raise UnsupportedError(
            "local",
            "put a container into another network",
            "Leave the option network of its function out.",
        )


def refuse_network(kind: str) -> HostError:
    """
    Return the error of a call without a network in an environment of *kind*, whose processes
    others start.
    """
    from fal_core.errors import UnsupportedError

    remedy = "Write network=False in the options of the function, and not of the host."
    return UnsupportedError("local", f"run kind {kind!r} without a network", remedy)
