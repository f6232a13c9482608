"""
Starting a worker: its stream, its shared memory, and the pipes for its output.
"""

from __future__ import annotations

# ``socket`` is slow to import, and a first call waits for it.
import _socket
import fcntl
import mmap
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from fal_core.environments import Command, Interpreter
from fal_core.errors import HostError
from fal_core.events import Event, Log
from fal_core.options import HostOptions
from fal_core.workers import ARGUMENTS, Arenas, CrashOutput, Worker
from fal_core_worker.stream.arenas import InboundArena, OutboundArena
from fal_host_local.variables import resolve_secrets, worker_variables
from fal_host_local.workers.keepers import Keeper, memory_kills
from fal_host_local.workers.startups import Startups

#: Seconds that a worker may take to exit when it is asked to.
_PATIENCE = 2.0

#: Seconds after which a killed worker counts as gone, whatever the keeper reports.
_GIVE_UP_AFTER = 10.0


class WorkerOwner(Protocol):
    """
    What a worker is started for: a pool.

    Attributes:
        options: The options of the calls that the worker runs.

        multiplex: How many calls it runs at once.

        origin: The file of the functions it runs, if they use secrets.

        shares_memory: Whether large values go through shared memory.

        largest: The largest value that the worker may send, in bytes. None for any.

        enter_network: Returns the command that runs another one in a network of its own;
            None where the worker uses that of this machine.

        startups: Kills workers that take too long to start.

        wait_for_exit: Is set to what stops the last worker that was started, once that is
            idle, and waits until its processes are gone.
    """

    options: HostOptions
    multiplex: int
    origin: str | None
    shares_memory: bool
    largest: int | None
    enter_network: Callable[[Command], Command] | None
    startups: Startups
    wait_for_exit: Callable[[], None]

    def worker_ready(self, worker: Worker, seconds: float) -> None:
        """
        Take note of how long a worker took to start.
        """

    def worker_idle(self, worker: Worker) -> None:
        """
        Give *worker* its next call.
        """

    def worker_ended(self, worker: Worker) -> None:
        """
        Take note that *worker* has ended.
        """

    def call_away(self, change: int) -> None:
        """
        Count the workers that wait for a call in the caller.
        """


def start_worker(
    find_keeper: Callable[[], Keeper], owner: WorkerOwner, interpreter: Interpreter
) -> Worker:
    """
    Start a worker for *owner* with the environment's *interpreter*.

    Raises:
        OSError: The host was closed meanwhile.

        HostError: The host is closed.

        OptionError: A secret has no value.
    """
    secrets = owner.options.secrets or ()
    values = resolve_secrets(secrets, owner.origin)
    command = interpreter.command(ARGUMENTS, name=None)
    if owner.enter_network is not None:
        command = owner.enter_network(command)
    variables = worker_variables(secrets, command.variables)
    keeper = find_keeper()
    ours, theirs = _socket.socketpair()
    settings: dict[str, Any] = {"multiplex": owner.multiplex, "kept": True}
    if owner.options.logging is not None:
        settings["logging"] = owner.options.logging
    descriptors = [theirs.fileno()]
    arenas = None
    shares = owner.shares_memory and interpreter.passes_fds
    if shares and hasattr(os, "memfd_create"):
        arenas, shared = _make_arenas()
        descriptors += shared
        settings |= {"arenas": (3, 4, _capacity()), "page": 5}
    crash_output = None
    if interpreter.passes_fds:
        crash_output = CrashOutput()
        first = len(descriptors) + 2
        settings["pipes"] = tuple(range(first, first + len(crash_output.given)))
        descriptors += crash_output.given
    kills = memory_kills()
    try:
        number = keeper.start(command.argv, variables, os.getcwd(), descriptors)
    except OSError:
        # The host was closed meanwhile.
        ours.close()
        if crash_output is not None:
            crash_output.close()
        raise
    finally:
        theirs.close()
        if crash_output is not None:
            crash_output.close_given()
    if arenas is not None:
        # The page stays mapped; only the descriptors of the arenas, which grow, are needed.
        os.close(descriptors[3])
    began = time.monotonic()

    def lost() -> HostError:
        error = keeper.how_it_ended(number, kills)
        owner.worker_ended(worker)
        return owner.startups.error(worker) or error

    def ready() -> None:
        assert worker.hello is not None
        owner.worker_ready(worker, worker.hello["at"] - began)

    descriptor = ours.detach()
    worker = Worker(
        descriptor,
        descriptor,
        lost=lost,
        kill=lambda: keeper.kill(number),
        log=print_build_log,
        idle=owner.worker_idle,
        away=owner.call_away,
        ready=ready,
        settings=settings,
        arenas=arenas,
        crash_output=crash_output,
        largest=owner.largest,
    )
    owner.wait_for_exit = lambda: _stop_and_wait(worker, keeper, number)
    if values:
        worker.send_secrets(values)
    return worker


def _stop_and_wait(worker: Worker, keeper: Keeper, number: int) -> None:
    """
    Stop an idle worker, and wait until its processes are gone.
    """
    if not worker.gone:
        worker.stop(watch=False)
        if keeper.wait(number, _PATIENCE) is None:
            worker.kill()
            keeper.wait(number, _GIVE_UP_AFTER)
        # Nothing reads its stream any more, which would show that the worker has exited.
        worker.forget()


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


def print_build_log(event: Event) -> None:
    """
    Print a log that belongs to no waiting call.
    """
    if isinstance(event, Log):
        from fal_core.sinks import print_log

        print_log(event)
