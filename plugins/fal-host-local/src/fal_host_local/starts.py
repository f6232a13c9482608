"""
Starting a worker of the host ``local``: its stream, its shared memory, its pipes.
"""

from __future__ import annotations

import _socket
import mmap
import os
import time
from collections.abc import Callable
from typing import Any

from fal_core.environments import Interpreter
from fal_core.errors import HostError
from fal_core.events import Event, Log
from fal_core.sinks.printing import print_log
from fal_core.workers import ARGUMENTS, Arenas, Worker
from fal_core.workers.crash_output import Remains
from fal_core_worker.stream.arenas import InboundArena, OutboundArena
from fal_host_local.keepers import Keeper, memory_kills
from fal_host_local.pools import Pool
from fal_host_local.variables import resolve_secrets, worker_variables

#: Seconds that a worker may take to end when it is told to.
_PATIENCE = 2.0

#: Seconds after which one that was killed is taken to be gone, whatever the keeper says.
_GIVEN_UP = 10.0


def start_worker(
    find_keeper: Callable[[], Keeper], pool: Pool, interpreter: Interpreter
) -> Worker:
    """
    Start a worker of *pool* with the environment's *interpreter*.

    Raises:
        OSError: The host was closed meanwhile.

        HostError: The host is closed, or a secret has no value.
    """
    secrets = pool.options.secrets or ()
    values = resolve_secrets(secrets, pool.origin)
    command = interpreter.command(ARGUMENTS, name=None)
    if pool.place is not None and pool.place.is_apart:
        from fal_host_local.namespaces import isolated

        command = isolated(command, outer=pool.place.port, inner=pool.place.inner)
    variables = worker_variables(secrets, command.variables)
    keeper = find_keeper()
    ours, theirs = _socket.socketpair()
    settings: dict[str, Any] = {"multiplex": pool.multiplex, "kept": True}
    descriptors = [theirs.fileno()]
    arenas = None
    shares = pool.shares_memory and interpreter.passes_fds
    if shares and hasattr(os, "memfd_create"):
        arenas, shared = _make_arenas()
        descriptors += shared
        settings |= {"arenas": (3, 4, _capacity()), "page": 5}
    remains = None
    if interpreter.passes_fds and not (pool.place is not None and pool.place.is_apart):
        remains = Remains()
        first = len(descriptors) + 2
        settings["pipes"] = tuple(range(first, first + len(remains.given)))
        descriptors += remains.given
    kills = memory_kills()
    try:
        number = keeper.start(command.argv, variables, os.getcwd(), descriptors)
    except OSError:
        # The host was closed meanwhile.
        ours.close()
        if remains is not None:
            remains.close()
        raise
    finally:
        theirs.close()
        if remains is not None:
            remains.close_given()
    if arenas is not None:
        # The mappings stay; only the arenas that may grow are needed here.
        os.close(descriptors[3])
    began = time.monotonic()

    def lost() -> HostError:
        error = keeper.how_it_ended(number, kills)
        pool.worker_ended(worker)
        return pool.startups.error(worker) or error

    def ready() -> None:
        assert worker.hello is not None
        pool.worker_ready(worker, worker.hello["at"] - began)

    descriptor = ours.detach()
    worker = Worker(
        descriptor,
        descriptor,
        lost=lost,
        kill=lambda: keeper.kill(number),
        log=print_build_log,
        idle=pool.worker_idle,
        away=pool.call_away,
        ready=ready,
        settings=settings,
        arenas=arenas,
        remains=remains,
    )
    pool.await_end = lambda: _await_end(worker, keeper, number)
    if values:
        worker.send_secrets(values)
    return worker


def _await_end(worker: Worker, keeper: Keeper, number: int) -> None:
    """
    End a worker that is idle, and wait until nothing is left of it.
    """
    if not worker.gone:
        worker.stop(watch=False)
        if keeper.wait(number, _PATIENCE) is None:
            worker.kill()
            keeper.wait(number, _GIVEN_UP)
        # Nobody reads its stream any more, and would notice that it has ended.
        worker.forget()


def _make_arenas() -> tuple[Arenas, list[int]]:
    """
    Return the arenas of a worker, and the descriptors it inherits.
    """
    to_worker = os.memfd_create("fal-core", os.MFD_CLOEXEC)
    from_worker = os.memfd_create("fal-core", os.MFD_CLOEXEC)
    page = os.memfd_create("fal-core", os.MFD_CLOEXEC)
    os.ftruncate(page, mmap.PAGESIZE)
    arenas = Arenas(
        InboundArena(from_worker),
        OutboundArena(to_worker, _capacity()),
        mmap.mmap(page, mmap.PAGESIZE),
    )
    return arenas, [to_worker, from_worker, page]


def _capacity() -> int:
    """
    Return how large an arena may grow: a quarter of the memory, 4 GiB at most.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(4 << 30, memory // 4)


def print_build_log(event: Event) -> None:
    """
    Print what is said of no call that waits.
    """
    if isinstance(event, Log):
        print_log(event)
