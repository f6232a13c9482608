"""Starting a worker: its command is made, its keeper runs it, and what it is given is handed over."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fal_core.environments import Command, Interpreter
from fal_core.events import Log
from fal_core.pools import Start
from fal_core.workers import Worker
from fal_host_local.variables import resolve_secrets, worker_variables
from fal_host_local.workers.channels import Wiring
from fal_host_local.workers.keepers import Keeper, memory_kills
from fal_host_local.workers.places import Placement
from fal_host_local.workers.supplies import Supplies
from fal_host_local.workers.surroundings import find_folders

if TYPE_CHECKING:
    from fal_core.errors import HostError
    from fal_host_local.workers.words import Words

#: Seconds that a look takes at whether a process has ended that starts.
_LOOK = 0.01


def start_worker(find_keeper: Callable[[], Keeper], start: Start, place: Placement) -> Worker:
    """
    Start a worker with the environment's interpreter.

    Raises:
        OSError: The process cannot be started.

        HostError: The host is closed.

        OptionError: A secret has no value.
    """
    interpreter = start.build()
    values = resolve_secrets(start.host_options.secrets or (), start.origin)
    keeper = find_keeper()
    supplies = Supplies(
        interpreter.channel, shares_memory=place.shares_memory, is_reached=bool(place.ports)
    )
    kills = memory_kills(anywhere=supplies.wiring.words is not None)
    try:
        command = _make_command(interpreter, start, place, supplies.wiring)
        launch = _prepare(command, start, place, supplies.wiring)
        try:
            number = launch(keeper)
        except OSError:
            # Nothing has begun where it has ended; find_keeper says where the host was closed.
            keeper, ended = find_keeper(), keeper
            if not ended.end():
                raise
            number = launch(keeper)
        try:
            supplies.wiring.hand_over(partial(keeper.has_exited, number, _LOOK))
        except BaseException:
            keeper.kill(number)
            raise
    except BaseException:
        # The host was closed meanwhile, or there is no such command.
        supplies.close()
        raise
    finally:
        supplies.close_given()
    worker = _meet(keeper, number, command, place, supplies, kills)
    place.measure(worker, keeper, number)
    if values:
        worker.send_secrets(values)
    return worker


def _make_command(
    interpreter: Interpreter, start: Start, place: Placement, wiring: Wiring
) -> Command:
    """
    Return the command that runs the worker.

    Raises:
        UnsupportedError: It cannot run in the network of *place*.
    """
    make = partial(
        interpreter.command,
        wiring.arguments,
        variables=place.variables,
        binds={**find_folders(os.getcwd(), start.call, origin=start.origin), **wiring.binds},
        ports=place.ports,
        machine=place.machine,
        name=f"fal-core-{os.getpid()}-{os.urandom(4).hex()}",
        descriptors=wiring.count,
    )
    if place.reached is None or not interpreter.joins_networks:
        return place.enter(make())
    from fal_host_local.workers.joined_networks import NAMESPACE, make_network

    return make_network(make(network=NAMESPACE), place.reached)


def _prepare(
    command: Command, start: Start, place: Placement, wiring: Wiring
) -> Callable[[Keeper], int]:
    """Return what has a keeper run *command*, and returns the number that it has there."""
    variables = worker_variables(start.host_options.secrets or (), command.variables)
    descriptors, layout = wiring.given()
    given = command.argv, variables, command.directory or os.getcwd(), descriptors
    confinement = place.confinement(command)
    return lambda keeper: keeper.start(
        *given,
        layout=layout,
        stop_argv=command.stop_argv,
        held=place.held,
        confinement=confinement,
    )


def _meet(
    keeper: Keeper,
    number: int,
    command: Command,
    place: Placement,
    supplies: Supplies,
    kills: int,
) -> Worker:
    """
    Return the worker in the process that *keeper* knows by *number*.

    Arguments:
        kills: What :func:`memory_kills` returned when it was started.
    """
    words: Words | None = None

    def explain() -> HostError:
        from fal_host_local.workers.endings import why_lost, with_peak

        reason = why_lost(
            keeper, number, command, kills=kills, words=words, machine=place.machine
        )
        worker.is_orphan = bool(keeper.end())
        used = keeper.used(number)
        if command.stop_argv is None:
            limits = place.limits
            reason = with_peak(reason, used[0], None if limits is None else limits.machine)
        return place.judge(used, reason)

    def kill() -> None:
        if not keeper.kill(number):
            # What is left of it, as a container, ends with its stream.
            worker.close()

    descriptor = supplies.take_stream()
    worker = Worker(
        descriptor,
        descriptor,
        lost=explain,
        kill=kill,
        wait=lambda timeout: keeper.has_exited(number, timeout),
        log=_print_log if place.largest is None else None,
        settings=supplies.settings,
        arenas=supplies.arenas,
        crash_output=supplies.crash_output,
        largest=place.largest,
    )
    if supplies.wiring.words is not None:
        from fal_host_local.workers.words import Words

        words = Words(supplies.wiring.words, worker.say)
    return worker


def _print_log(log: Log) -> None:
    """Print a line that belongs to no call, for a launcher that trusts its functions."""
    from fal_core.sinks import print_log

    print_log(log)
