"""
Starting a worker: its stream, its shared memory, and the pipes for its output.
"""

from __future__ import annotations

# ``socket`` is slow to import, and a first call waits for it.
import _socket
import fcntl
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.environments import Command
from fal_core.events import Log
from fal_core.pools import Start
from fal_core.workers import Arenas, CrashOutput, Worker
from fal_core_worker.stream.arenas import InboundArena, OutboundArena
from fal_host_local.variables import resolve_secrets, worker_variables
from fal_host_local.workers.channels import Wiring
from fal_host_local.workers.keepers import Keeper, memory_kills
from fal_host_local.workers.surroundings import find_folders, find_machine

if TYPE_CHECKING:
    from fal_core.claims import Claim
    from fal_core.errors import HostError
    from fal_core.machines import Machine
    from fal_host_local.limits.limits import Limits
    from fal_host_local.limits.meters import Meter
    from fal_host_local.workers.words import Words

#: Seconds that a look takes at whether a process has ended that starts.
_LOOK = 0.01

#: Seconds that a worker which is measured may take to end.
_PATIENCE = 30.0


@attrs.define(eq=False)
class Place:
    """
    Where and how a worker of this machine runs.

    Attributes:
        shares_memory: Whether large values go through shared memory.

        largest: The largest value that the worker may send, in bytes. None for any.

        claim: The devices of the worker. None for those of this process.

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
    limits: Limits | None = None
    meter: Meter | None = None
    reached: Sequence[int] | None = None

    @property
    def variables(self) -> dict[str, str]:
        """
        The environment variables by which the worker uses its devices and no others.
        """
        return {} if self.claim is None else self.claim.variables

    @property
    def machine(self) -> Machine | None:
        """
        The machine type that was chosen with the devices. None where none was.
        """
        return None if self.claim is None else self.claim.machine

    @property
    def held(self) -> tuple[int, ...]:
        """
        The descriptors that the keeper has open while the worker lives.
        """
        return () if self.claim is None else self.claim.descriptors

    def confinement(self, command: Command) -> dict[str, Any] | None:
        """
        Return what the keeper is told of the limits.

        Raises:
            UnsupportedError: What it uses cannot be measured.
        """
        if self.meter is not None and command.stop_argv is not None:
            from fal_core.errors import UnsupportedError

            raise UnsupportedError(
                "local", "measure a container", "Ask its engine, as with 'podman stats'."
            )
        told: dict[str, Any] | None = None if self.meter is None else {"groups": []}
        # What needs another command to end keeps to limits in its own way.
        if self.limits is not None and command.stop_argv is None:
            told = self.limits.confinement()
        return told and {**told, "measures": self.meter is not None}

    def judge(self, keeper: Keeper, number: int, reason: HostError) -> HostError:
        """
        Return the error of a worker that has ended, with the limit that has ended it.
        """
        if self.limits is None or self.limits.machine is None:
            return reason
        from fal_host_local.limits.verdicts import judge

        peak, kills, _ = keeper.used(number)
        return judge(self.limits.machine, peak, kills, reason)

    def measure(self, worker: Worker, keeper: Keeper, number: int) -> None:
        """
        Measure what *worker* uses, if its host does.
        """
        if self.meter is None:
            return
        from fal_core.abilities import Usage

        def used() -> Usage:
            keeper.wait(number, _PATIENCE)
            memory, _, spent = keeper.used(number)
            return Usage(memory=memory, processor_seconds=spent)

        self.meter.add(worker, used, () if self.claim is None else self.claim.devices)


def start_worker(find_keeper: Callable[[], Keeper], start: Start, place: Place) -> Worker:
    """
    Start a worker with the environment's interpreter.

    Raises:
        OSError: The host was closed meanwhile.

        HostError: The host is closed.

        OptionError: A secret has no value.
    """
    interpreter = start.build()
    secrets = start.host_options.secrets or ()
    values = resolve_secrets(secrets, start.origin)
    keeper = find_keeper()
    ours, theirs = _socket.socketpair()
    wiring = Wiring(interpreter.channel, theirs.fileno())
    settings: dict[str, Any] = {}
    arenas = crash_output = None
    if wiring.is_apart:
        settings["stream"] = wiring.stream
    else:
        settings["kept"] = True
    if place.ports:
        settings["address"] = "0.0.0.0"
    if place.shares_memory and wiring.first is not None and hasattr(os, "memfd_create"):
        arenas, shared = _make_arenas()
        inbound, outbound, settings["page"] = wiring.add(shared)
        settings["arenas"] = (inbound, outbound, _capacity())
    if wiring.first is not None:
        crash_output = CrashOutput()
        settings["pipes"] = wiring.add(crash_output.given)
    kills = memory_kills()
    directory = os.getcwd()
    joined = _Joined(place.reached if interpreter.joins_networks else None)
    try:
        command = interpreter.command(
            wiring.arguments,
            variables=place.variables,
            binds={**find_folders(directory, start.call), **wiring.binds},
            ports=place.ports,
            machine=place.machine or find_machine(start.host_options),
            name=f"fal-core-{os.getpid()}-{os.urandom(4).hex()}",
            descriptors=wiring.count,
            **joined.told,
        )
        command = joined.around(command)
        if place.enter_network is not None:
            command = _enter(place.enter_network, command)
        variables = worker_variables(secrets, command.variables)
        descriptors, layout = wiring.given()
        number = keeper.start(
            *(command.argv, variables, directory, descriptors),
            layout=layout,
            stop_argv=command.stop_argv,
            held=place.held,
            confinement=place.confinement(command),
        )
        wiring.hand_over(lambda: keeper.wait(number, _LOOK) is not None)
    except BaseException:
        # The host was closed meanwhile, or there is no such command.
        ours.close()
        wiring.close()
        if arenas is not None:
            arenas.inbound.close()
            arenas.outbound.close()
        if crash_output is not None:
            crash_output.close()
        raise
    finally:
        theirs.close()
        wiring.close_given()
        if arenas is not None:
            # The page stays mapped; only the descriptors of the arenas, which grow, are
            # needed.
            os.close(shared[2])
        if crash_output is not None:
            crash_output.close_given()
    words: Words | None = None

    def explain() -> HostError:
        from fal_host_local.workers.endings import why_lost

        reason = why_lost(keeper, number, command, kills=kills, words=words)
        return place.judge(keeper, number, reason)

    descriptor = ours.detach()
    worker = Worker(
        descriptor,
        descriptor,
        lost=explain,
        kill=lambda: keeper.kill(number),
        wait=lambda timeout: keeper.wait(number, timeout) is not None,
        log=_print_log,
        settings=settings,
        arenas=arenas,
        crash_output=crash_output,
        largest=place.largest,
    )
    if wiring.words is not None:
        from fal_host_local.workers.words import Words

        words = Words(wiring.words, worker.say)
    place.measure(worker, keeper, number)
    if values:
        worker.send_secrets(values)
    return worker


@attrs.frozen
class _Joined:
    """
    The network that the process of an interpreter joins.

    Attributes:
        reached: See :class:`Place`.
    """

    reached: Sequence[int] | None

    @property
    def told(self) -> dict[str, Any]:
        """
        What the interpreter is told beside the rest.
        """
        if self.reached is None:
            return {}
        from fal_host_local.services.joined_networks import NAMESPACE

        return {"network": NAMESPACE}

    def around(self, command: Command) -> Command:
        """
        Return the command that makes the network, and runs *command*.
        """
        if self.reached is None:
            return command
        from fal_host_local.services import joined_networks

        argv = (*joined_networks.command(self.reached), *command.argv)
        return attrs.evolve(command, argv=argv)


def _enter(network: Callable[[Command], Command], command: Command) -> Command:
    """
    Return the command that runs *command* in a network of its own.

    Raises:
        UnsupportedError: Its process would not be in it.
    """
    if command.stop_argv is None:
        return network(command)
    from fal_core.errors import UnsupportedError

    raise UnsupportedError(
        "local",
        "put a container into another network",
        "Give its function the option network, as in network=False.",
    )


def _make_arenas() -> tuple[Arenas, list[int]]:
    """
    Return the shared memory of a worker, and the descriptors that it inherits.
    """
    to_worker, from_worker, page = (
        os.memfd_create("fal-core", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) for _ in range(3)
    )
    os.ftruncate(page, mmap.PAGESIZE)
    for memory in (to_worker, from_worker, page):
        # Reading beyond the end of a file that the other end has shortened is fatal.
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    arenas = Arenas(
        InboundArena(from_worker),
        OutboundArena(to_worker, _capacity()),
        mmap.mmap(page, mmap.PAGESIZE),
    )
    return arenas, [to_worker, from_worker, page]


def _capacity() -> int:
    """
    Return the size that an arena may grow to: a quarter of the memory, at most 4 GiB.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(4 << 30, memory // 4)


def _print_log(log: Log) -> None:
    """
    Print a line that belongs to no call.
    """
    from fal_core.sinks import print_log

    print_log(log)
