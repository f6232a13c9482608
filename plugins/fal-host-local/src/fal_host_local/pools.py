"""
Pools: the warm workers of one environment, and the calls that wait for one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fal_core.calls import Call
from fal_core.environments import Environment, Interpreter
from fal_core.errors import HostClosed, HostError, WorkerLost
from fal_core.events import Event, Log, Sink, State
from fal_core.hosts import Execution
from fal_core.options import HostOptions
from fal_core.sinks.event_thread import get_reader
from fal_core.workers import Worker
from fal_host_local.pending import AllWithdrawn, PendingExecution, Queue
from fal_host_local.startups import Startups
from fal_host_local.upkeep import Roster, Upkeep

if TYPE_CHECKING:
    from fal_host_local.ports import Place

#: Seconds that a worker is taken to need before one has been started.
_FIRST_GUESS = 0.05

KEEP_ALIVE = 10.0

#: Seconds for which a worker that was started for a call to come waits for it.
_EXPECTED = 5.0


class Pool:
    """
    Workers that may run the same calls.

    Arguments:
        environment: The one of all these calls.

        options: Those of all these calls.

        start: Starts a worker with an interpreter.

        count: How many workers there may be where no option says.

        log: Is told what happens for no call that waits.

        has_setup: Whether the functions have one.

    Attributes:
        shares_memory: Whether workers are started with memory that large values
            go through.

        place: Where a service is reached that brings its own server.

        origin: The file of the functions it runs, where they name secrets.

        waiting: The calls that wait for a worker.

        await_end: Ends the last worker that was started, once it is idle, and
            waits until nothing is left of it.
    """

    shares_memory = True
    place: Place | None = None
    origin: str | None = None
    await_end: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        environment: Environment,
        options: HostOptions,
        start: Callable[[Pool, Interpreter], Worker],
        count: int,
        log: Callable[[Event], None],
        *,
        has_setup: bool,
    ) -> None:
        self.environment = environment
        self.options = options
        self.multiplex = max(1, options.max_multiplexing or 1)
        self._start = start
        self._most = options.max_concurrency or max(count, options.min_concurrency or 0)
        self._least = options.min_concurrency or 0
        self._keep_alive = KEEP_ALIVE if options.keep_alive is None else options.keep_alive
        self._patience = options.scaling_delay
        self._lock = threading.Lock()
        self.waiting = Queue(self._lock)
        self.startups = Startups(options.startup_timeout, has_setup=has_setup)
        self._roster = Roster()
        self._upkeep = Upkeep(
            self._roster, self._lock, keep_alive=self._keep_alive, least=self._least
        )
        self._away = 0
        self._starts: deque[float] = deque(maxlen=15)
        self._interpreter: Interpreter | None = None
        self._starting = 0
        self._closed = False
        self._expecting = False
        self._log = log

    # -- calls -------------------------------------------------------------------

    def expect(self) -> None:
        """
        Start the first worker for a call that is about to come.

        It waits for that call for some seconds, however short its ``keep_alive`` is.
        """
        if not self.environment.is_built():
            return
        with self._lock:
            if self._closed or self._roster.workers or self._starting:
                return
            self._starting += 1
            self._expecting = True
        get_reader().after(_EXPECTED, self._expect_no_more)
        self._find_environment(threading.Event())

    def _expect_no_more(self) -> None:
        self._expecting = False
        if self._roster.idle:
            self._upkeep.begin()

    def launch(self, call: Call, sink: Sink) -> Execution:
        """
        Run *call* in an idle worker, or have it wait for one.
        """
        while True:
            with self._lock:
                if not self._roster.idle:
                    pending = PendingExecution(self, call, sink)
                    self.waiting.append(pending)
                    break
                worker = self._roster.idle.pop()
                self._expecting = False
            try:
                execution = worker.launch(call, sink)
            except ConnectionError:
                self._forget(worker)
                # Nobody reads its stream, and would notice that it has ended.
                worker.stop()
            else:
                self.startups.called(worker)
                return execution
        pending.tell(State("queued"))
        self._grow()
        return pending

    def worker_idle(self, worker: Worker) -> None:
        """
        Give *worker* the next call, or let it wait for one.
        """
        while True:
            with self._lock:
                if worker not in self._roster.workers:
                    return
                if worker.stopped:
                    # It asked to be replaced.
                    self._roster.remove(worker)
                    replaced = True
                    break
                if not self.waiting:
                    self._roster.rest(worker)
                    replaced = False
                    break
                pending = self.waiting.popleft()
            if pending.assign(worker):
                return
        if replaced:
            self._grow()
        elif not self._expecting:
            self._upkeep.begin()

    def worker_ready(self, worker: Worker, seconds: float) -> None:
        """
        Learn how long a worker took to start.
        """
        self._starts.append(seconds)
        self.startups.started(worker, seconds)

    def worker_ended(self, worker: Worker) -> None:
        """
        Start another worker in place of one that has ended, if calls wait.
        """
        self._forget(worker)
        self._grow()

    def call_away(self, change: int) -> None:
        """
        Count workers that wait for a call at home; they leave room for others.
        """
        with self._lock:
            self._away += change
        if change > 0:
            self._grow()

    def put_back(self, pending: PendingExecution, worker: Worker) -> None:
        """
        Queue a call again, first of all, whose worker was gone.

        One that never started has no better successor: the call ends.
        """
        worker.close()
        if worker.hello is None:
            pending.refuse(worker.reason or WorkerLost())
            return
        with self._lock:
            self.waiting.appendleft(pending)
        self.worker_ended(worker)

    def close(self) -> None:
        """
        Stop every worker and refuse the calls that wait.
        """
        with self._lock:
            self._closed = True
            waiting = self.waiting.take_all()
            workers = list(self._roster.workers)
            self._roster.clear()
        for pending in waiting:
            pending.refuse(HostClosed("local"))
        for worker in workers:
            worker.stop() if not worker.executions else worker.kill()

    def retire(self) -> None:
        """
        Stop the workers that are idle, and keep none of the others for good.
        """
        with self._lock:
            self._least = 0
            self._upkeep.least = 0
            idle = [
                worker for worker in dict.fromkeys(self._roster.idle) if not worker.executions
            ]
            for worker in idle:
                self._roster.remove(worker)
        for worker in idle:
            worker.stop()

    def abandon(self) -> None:
        """
        Let go of workers that belong to the process this one was forked from.
        """
        for worker in self._roster.workers:
            worker.abandon()
        if self.place is not None:
            self.place.leave()

    @property
    def worker_count(self) -> int:
        """
        How many workers there are.
        """
        return len(self._roster.workers)

    @property
    def pids(self) -> list[int]:
        """
        The processes of workers that have said hello.
        """
        workers = list(self._roster.workers)
        return [worker.hello["pid"] for worker in workers if worker.hello]

    # -- workers -----------------------------------------------------------------

    def _grow(self) -> None:
        """
        Start a worker for the calls that wait, now or after some patience.
        """
        with self._lock:
            if not self._may_start():
                return
            patience = self.worker_count + self._starting > self._away
            if not patience:
                self._starting += 1
        if patience:
            get_reader().after(self._wait_before_start(), self._grow_if_waiting)
        else:
            self._start_one()

    def _may_start(self) -> bool:
        """
        Tell whether calls wait and there may be one more worker; under the lock.
        """
        count = self.worker_count + self._starting
        wanted = bool(self.waiting) or count < self._least
        return wanted and not self._closed and count < self._most + self._away

    def _wait_before_start(self) -> float:
        if self._patience is not None:
            return self._patience
        # The median; the module of that name costs more to import than all of these.
        starts = sorted(self._starts)
        return starts[len(starts) // 2] if starts else _FIRST_GUESS

    def _grow_if_waiting(self) -> None:
        patience = self._wait_before_start()
        with self._lock:
            if not self._may_start():
                return
            building = self._interpreter is None and self._starting
            since = self.waiting[0].since if self.waiting else 0.0
            due = time.monotonic() - since >= patience - 0.001 and not building
            if due:
                self._starting += 1
        if due:
            self._start_one()
        get_reader().after(patience, self._grow_if_waiting)

    def _start_one(self) -> None:
        """
        Start one worker, for which the caller has counted up *starting*.
        """
        interpreter = self._interpreter
        if interpreter is not None:
            self._start_with(interpreter)
        elif self.environment.is_built() and not get_reader().is_current_thread():
            self._find_environment(AllWithdrawn(self.waiting))
        else:
            threading.Thread(target=self._build, name="fal-core build", daemon=True).start()

    def _build(self) -> None:
        if not self.environment.is_built():
            self._report(State("building"))
        self._find_environment(AllWithdrawn(self.waiting))

    def _find_environment(self, cancelled: threading.Event) -> None:
        """
        Start a worker with the environment's interpreter, which is built if need be.
        """
        try:
            interpreter = self.environment.build(self._report, cancelled)
        except BaseException as error:
            self._refuse_waiting(as_host_error(error))
            return
        self._interpreter = interpreter
        self._start_with(interpreter)

    def _start_with(self, interpreter: Interpreter) -> None:
        self._report(State("starting"))
        try:
            worker = self._start(self, interpreter)
        except (OSError, HostError) as error:
            self._refuse_waiting(as_host_error(error))
            return
        with self._lock:
            self._starting -= 1
            self._roster.add(worker)
            again = self.worker_count + self._starting < self._least and not self._closed
            self._starting += again
        self.startups.begin(worker)
        for _ in range(self.multiplex):
            self.worker_idle(worker)
        if again:
            self._start_one()

    def _refuse_waiting(self, reason: HostError) -> None:
        """
        End the calls that wait for a worker that cannot be had.
        """
        with self._lock:
            self._starting -= 1
            waiting = self.waiting.take_all()
        for pending in waiting:
            pending.refuse(reason)

    def _report(self, event: Event) -> None:
        """
        Tell the calls that wait what is done for them.
        """
        if not self.waiting.tell(event) and isinstance(event, Log):
            self._log(event)

    def _forget(self, worker: Worker) -> None:
        with self._lock:
            self._roster.remove(worker)


def as_host_error(error: BaseException) -> HostError:
    """
    Return *error* as one of the host's, with what it says.
    """
    if isinstance(error, HostError):
        return error
    failed = HostClosed("local", f"{type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed
