"""The pools of a host: one for the calls of each environment, with the same options."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Hashable
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from fal_core.calls import Call, SealedFunction
from fal_core.environments import Environment
from fal_core.errors import HostClosed
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_core.options import HostOptions
from fal_core.pools.giving_way import claimed
from fal_core.pools.pool import Pool
from fal_core.pools.starts import Begin

if TYPE_CHECKING:
    from fal_core.pools.services import Reach

#: How many functions are remembered with their pools.
_MOST_RECENT = 256

_all: weakref.WeakSet[WorkerPools] = weakref.WeakSet()


class Shared(Protocol):
    """
    What calls have in common that may share workers: a call, or one that is expected.

    Attributes:
        environment: Their environment.

        host_options: Their options.

        setup: Their ``setup_function``.

        origin: The file of their function.
    """

    @property
    def environment(self) -> Environment: ...
    @property
    def host_options(self) -> HostOptions: ...
    @property
    def setup(self) -> SealedFunction | None: ...
    @property
    def origin(self) -> str | None: ...


#: Returns what calls must have in common to share workers. Equal values share.
SharedBy = Callable[[Shared], Hashable]

#: Options of a call that no worker depends on: two calls may differ in them and share one.
_OF_CALLS = frozenset(
    (
        "app_files",
        "app_files_context_dir",
        "app_files_ignore",
        "health_check_config",
        "metadata",
        "metrics_port",
        "private_logs",
        "request_start_timeout",
        "request_timeout",
        "requirements_context_dir",
        "retry_config",
        "setup_function",
        "skip_retry_conditions",
        "termination_grace_period_seconds",
    )
)


def shared_by(call: Shared) -> Hashable:
    """
    Return what calls must have in common to share workers.

    That is the environment, the options that a worker is started with or kept by, the
    ``setup_function``, and the file of the function if it has secrets, whose values may be
    in a file beside it. Workers of an environment whose files have changed are replaced.
    """
    environment, options = call.environment, call.host_options
    values = attrs.asdict(options, recurse=False)
    return (
        environment.kind,
        environment.key,
        # To build it again is a choice of one declaration.
        getattr(environment, "force", None),
        tuple(
            (name, _hashable(value)) for name, value in values.items() if name not in _OF_CALLS
        ),
        call.origin if options.secrets else None,
        call.setup and call.setup.digest,
    )


def _hashable(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value  # type: ignore[no-any-return]  # it has a hash


@attrs.frozen
class _Expected:
    """A call that is expected."""

    environment: Environment
    host_options: HostOptions
    setup: SealedFunction | None = None
    origin: str | None = None


class WorkerPools:
    """
    The warm workers of one host, and the calls that wait for one.

    Arguments:
        host: The name of the host, for errors.

        begin: Starts a worker for a :class:`~fal_core.pools.Start`. It may take long, unless
            it is *quick*; what it raises ends the calls that wait.

        count: The most workers of one pool where no option says.

        shared_by: Tells which calls may share workers.

        once: Whether a worker ends after its first call.

        quick: Whether *begin* takes no time where the environment is built, or what tells
            it for the options of calls.

    Attributes:
        pools: All pools.

        recent: The pool of each function, by the ids of its environment and of its options:
            these are the same objects for all its calls.
    """

    def __init__(
        self,
        host: str,
        begin: Begin,
        *,
        count: int = 1,
        shared_by: SharedBy = shared_by,
        once: bool = False,
        quick: bool | Callable[[HostOptions], bool] = False,
    ) -> None:
        self._host = host
        self._begin = begin
        self._count = count
        self._shared_by = shared_by
        self._once = once
        self._quick = quick if callable(quick) else lambda _: quick
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.pools: dict[Hashable, Pool] = {}
        self.recent: dict[tuple[int, int], RecentPool] = {}
        self._expected: tuple[Environment, HostOptions, Pool] | None = None
        self._closed = False

    # -- calls ---------------------------------------------------------------------

    def launch(self, call: Call, sink: Sink) -> Execution:
        """
        Run *call* in an idle worker, or let it wait for one.

        Raises:
            HostClosed: The host was closed.
        """
        return self._find_pool(call).launch(call, sink)

    def launch_service(self, call: Call, sink: Sink, reach: Reach | None = None) -> Execution:
        """
        Run a service in a worker of its own, which is stopped when the service ends.

        Arguments:
            reach: Finds out where it is reached; None where the URLs of the worker are right.

        Raises:
            HostClosed: The host was closed.
        """
        from fal_core.pools.services import ServiceExecution

        pool = self.take_expected(call) or self.make_service_pool(call)
        execution = ServiceExecution(call, sink, pool, lambda: self.forget_service(call), reach)
        self.add_service(call, pool)
        execution.start()
        return execution

    def expect(
        self,
        environment: Environment,
        options: HostOptions,
        *,
        serve: bool,
        origin: str | None = None,
    ) -> None:
        """
        Start the worker of a call that is expected soon, of a function in the file *origin*.

        One service is expected at a time; the worker of a service that never came stops
        by itself.

        Raises:
            HostClosed: The host was closed.
        """
        expected = _Expected(environment, options, origin=origin)
        if not serve:
            self._find_pool(expected).expect()
            return
        pool = self.make_service_pool(expected)
        with self._lock:
            self._check_open()
            self._expected = (environment, options, pool)
            self.pools["service", "expected"] = pool
        pool.expect()

    # -- services ------------------------------------------------------------------

    def take_expected(self, call: Call) -> Pool | None:
        """Return the pool of the service that was expected, if it is *call*."""
        if not call.gateway.serve or call.setup is not None:
            return None
        with self._lock:
            expected = self._expected
            if expected is None or expected[:2] != (call.environment, call.host_options):
                return None
            self._expected = None
            return self.pools.pop(("service", "expected"), None)

    def make_service_pool(self, call: Shared, begin: Begin | None = None) -> Pool:
        """Return a pool for the one worker of a service."""
        pool = Pool(
            self._host,
            call.environment,
            attrs.evolve(
                call.host_options,
                max_concurrency=1,
                min_concurrency=None,
                max_multiplexing=None,
                keep_alive=0,
            ),
            begin or self._begin,
            count=1,
            has_setup=call.setup is not None,
            quick=self._quick(call.host_options),
        )
        pool.origin = call.origin
        pool.serves = True
        return pool

    def add_service(self, call: Call, pool: Pool) -> None:
        """
        Have *pool* closed with this host.

        Raises:
            HostClosed: The host was closed.
        """
        with self._lock:
            self._check_open()
            self.pools["service", call.id] = pool

    def forget_service(self, call: Call) -> None:
        """Take note that a service has ended."""
        self.pools.pop(("service", call.id), None)

    # -- pools ---------------------------------------------------------------------

    def give_way(self) -> bool:
        """Stop a worker that is idle; return whether there was one that may be stopped."""
        return any(pool.give_way() for pool in list(self.pools.values()))

    @property
    def worker_count(self) -> int:
        """The current number of workers."""
        return sum(pool.worker_count for pool in list(self.pools.values()))

    def close(self) -> None:
        """Stop every worker, end the calls that run, and refuse those that wait."""
        with self._lock:
            self._closed = True
            pools = list(self.pools.values())
            self.pools.clear()
            self.recent.clear()
        for pool in pools:
            pool.close()

    def abandon(self) -> None:
        """Begin without workers in a forked child: those there are belong to the parent process."""
        for pool in self.pools.values():
            pool.abandon()
        self._reset()

    def _check_open(self) -> None:
        if self._closed:
            raise HostClosed(self._host)

    def _find_pool(self, call: Shared) -> Pool:
        environment, options = call.environment, call.host_options
        before = self.recent.get((id(environment), id(options)))
        if before is not None and (not before.refers or before.is_current()):
            return before.pool
        recent = RecentPool(environment, options)
        key = (self._shared_by(call), recent.stamp)
        with self._lock:
            self._check_open()
            pool = self.pools.get(key)
            if pool is None:
                pool = self.pools[key] = Pool(
                    self._host,
                    environment,
                    options,
                    self._begin,
                    count=self._count,
                    has_setup=call.setup is not None,
                    once=self._once,
                    quick=self._quick(options),
                )
                pool.origin = call.origin
            if len(self.recent) > _MOST_RECENT:
                self.recent.clear()
            recent.pool = pool
            self.recent[id(environment), id(options)] = recent
            if before is not None and before.pool is not pool:
                self._retire(before.pool)
        return pool

    def _retire(self, pool: Pool) -> None:
        """Stop the workers whose environment's files have changed; under the lock."""
        for key, other in list(self.pools.items()):
            is_retired = type(key) is tuple and key[0] == "retired"
            if other is pool or (is_retired and not other.worker_count):
                del self.pools[key]
        self.pools["retired", id(pool)] = pool
        pool.retire()


def _stop_one(uuids: Collection[str]) -> bool:
    """Have a pool of any host of this process stop an idle worker with one of the devices."""
    pools = [pool for each in list(_all) for pool in list(each.pools.values())]
    return any(pool.give_way(uuids) for pool in pools)


claimed.stop_one = _stop_one


def _forget_workers() -> None:
    claimed.reset()
    for pools in list(_all):
        pools.abandon()


os.register_at_fork(after_in_child=_forget_workers)


#: Files are assumed to be unchanged for this many times as long as checking them took.
_REST = 50


class RecentPool:
    """
    The pool of an environment and options, which are the same objects in all calls.

    Attributes:
        refers: Whether the environment refers to files, which may change.

        pool: The pool.
    """

    __slots__ = ("_environment", "_options", "_stamp", "_took", "_until", "pool", "refers")

    def __init__(self, environment: Environment, options: HostOptions) -> None:
        # Kept, so that no other objects get their ids.
        self._environment = environment
        self._options = options
        # Not timed: it may include imports.
        self._stamp = environment.stamp()
        self._until = self._took = 0.0
        self.refers: bool = self._stamp is not None
        self.pool: Pool

    @property
    def stamp(self) -> object:
        """The state of the environment's files when the pool was found."""
        return self._stamp

    def is_current(self) -> bool:
        """Return whether the files are unchanged; for a while after each check that is assumed."""
        if time.monotonic() < self._until:
            return True
        if self._look() == self._stamp:
            return True
        # The next check gives the same answer.
        self._until = 0.0
        return False

    def _look(self) -> object:
        began = time.monotonic()
        stamp = self._environment.stamp()
        ended = time.monotonic()
        # The shorter of the last two: if the machine was suspended during one check, its
        # seconds would hide edits for minutes.
        before, self._took = self._took, ended - began
        self._until = ended + _REST * min(before, self._took)
        return stamp
