"""
Pools: the warm workers of one environment, and the calls that wait for one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from fal_core.calls import Call
from fal_core.environments import Command, Environment, Interpreter
from fal_core.errors import HostClosed, HostError, WorkerLost
from fal_core.events import Event, Log, Sink, State
from fal_core.hosts import Execution
from fal_core.options import HostOptions
from fal_core.sinks import get_event_thread
from fal_core.workers import Worker
from fal_host_local.pools.outdated import OutdatedWorkers
from fal_host_local.pools.upkeep import Roster, Upkeep
from fal_host_local.pools.waiting import NoneWaiting, WaitingCalls, WaitingExecution
from fal_host_local.workers.startups import Startups

#: Seconds that starting a worker is assumed to take until one has been started.
_FIRST_GUESS = 0.05

#: Seconds for which an idle worker is kept where no option says.
KEEP_ALIVE = 10.0

#: Seconds for which a worker that was started for an expected call waits for it.
_EXPECTED = 5.0


class Pool:
    """
    Workers that may run the same calls.

    What a worker is started with is documented at
    :class:`~fal_host_local.workers.starting.WorkerOwner`, which a pool is.

    Arguments:
        environment: The environment of all these calls.

        options: The options of all these calls.

        start: Starts a worker with an interpreter.

        count: The maximum number of workers where no option says.

        log: Takes logs while no call waits.

        has_setup: Whether the functions have a setup.

    Attributes:
        waiting: The calls that wait for a worker.

        release: Frees what a forked child inherited of the service that runs here.
    """

    shares_memory = True
    largest: int | None = None
    enter_network: Callable[[Command], Command] | None = None
    origin: str | None = None
    wait_for_exit: Callable[[], None] = staticmethod(lambda: None)
    release: Callable[[], None] = staticmethod(lambda: None)

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
        self.waiting = WaitingCalls(self._lock)
        self.startups = Startups(options.startup_timeout, has_setup=has_setup)
        self._roster = Roster()
        self._outdated = OutdatedWorkers(self._roster, self._lock)
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
        Start the first worker for a call that is expected soon.

        It waits for that call for some seconds, however short its ``keep_alive`` is.
        """
        if not self.environment.is_built():
            return
        with self._lock:
            if self._closed or self._roster.workers or self._starting:
                return
            self._starting += 1
            self._expecting = True
        get_event_thread().after(_EXPECTED, self._expect_no_more)
        self._find_environment(threading.Event())

    def _expect_no_more(self) -> None:
        self._expecting = False
        if self._roster.idle:
            self._upkeep.begin()

    def launch(self, call: Call, sink: Sink) -> Execution:
        """
        Run *call* in an idle worker, or let it wait for one.
        """
        if call.sources:
            self._outdated.end(call)
        while True:
            with self._lock:
                if not self._roster.idle:
                    waiting = WaitingExecution(self.waiting, call, sink)
                    self.waiting.append(waiting)
                    break
                worker = self._roster.idle.pop()
                self._expecting = False
            try:
                execution = worker.launch(call, sink)
            except ConnectionError:
                with self._lock:
                    self._roster.retire(worker)
                # Nothing reads its stream, which would show that the worker has exited.
                worker.stop()
            else:
                if self.startups.limits_setup:
                    self.startups.called(worker)
                return execution
        waiting.report(State("queued"))
        self._grow()
        return waiting

    def worker_idle(self, worker: Worker) -> None:
        """
        Give *worker* the next waiting call, or let it wait for one.
        """
        with self._lock:
            if worker not in self._roster.workers:
                return
            # A worker may ask to be replaced.
            replaced = worker.stopped
            waiting = None
            if replaced:
                self._roster.remove(worker)
            elif self.waiting:
                waiting = self.waiting.popleft()
            else:
                self._roster.rest(worker)
        if waiting is not None:
            self._assign(waiting, worker)
        elif replaced:
            self._grow()
        elif not self._expecting:
            self._upkeep.begin()

    def worker_ready(self, worker: Worker, seconds: float) -> None:
        """
        Take note of how long a worker took to start.
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
        Count the workers that wait for a call in the caller: as many more may be started.
        """
        with self._lock:
            self._away += change
        if change > 0:
            self._grow()

    def _assign(self, waiting: WaitingExecution, worker: Worker) -> None:
        """
        Run a call that has waited in *worker*.
        """
        try:
            execution = worker.launch(waiting.call, waiting.sink)
        except ConnectionError:
            self._put_back(waiting, worker)
        else:
            self.startups.called(worker)
            waiting.settle(execution)

    def _put_back(self, waiting: WaitingExecution, worker: Worker) -> None:
        """
        Let a call wait again, as the next one, since its worker has exited or is retired.

        If the worker never came up, another one would not either, and the call ends.
        """
        is_gone = worker.fits(waiting.call)
        if is_gone:
            worker.close()
            if worker.hello is None:
                waiting.refuse(worker.reason or WorkerLost())
                return
        with self._lock:
            self.waiting.appendleft(waiting)
            if is_gone:
                self._roster.remove(worker)
            else:
                self._roster.retire(worker)
        self._grow()

    def close(self) -> None:
        """
        Stop every worker and refuse the calls that wait.
        """
        with self._lock:
            self._closed = True
            waiting = self.waiting.take_all()
            workers = list(self._roster.workers)
            self._roster.clear()
        for execution in waiting:
            execution.refuse(HostClosed("local"))
        for worker in workers:
            worker.stop() if not worker.executions else worker.kill()

    def retire(self) -> None:
        """
        Stop the idle workers, and the others once they have been idle for long enough.
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
        Release the workers in a forked child; they belong to the parent process.
        """
        for worker in self._roster.workers:
            worker.abandon()
        self.release()

    @property
    def worker_count(self) -> int:
        """
        The number of workers.
        """
        return len(self._roster.workers)

    @property
    def pids(self) -> list[int]:
        """
        The process IDs of the workers that have started.
        """
        workers = list(self._roster.workers)
        return [worker.hello["pid"] for worker in workers if worker.hello]

    # -- workers -----------------------------------------------------------------

    def _grow(self) -> None:
        """
        Start a worker for the waiting calls, at once or after a delay.
        """
        with self._lock:
            if not self._may_start():
                return
            patience = self.worker_count + self._starting > self._away
            if not patience:
                self._starting += 1
        if patience:
            get_event_thread().after(self._wait_before_start(), self._grow_if_waiting)
        else:
            self._start_one()

    def _may_start(self) -> bool:
        """
        Return whether one more worker is needed and allowed; under the lock.
        """
        count = self.worker_count + self._starting
        wanted = bool(self.waiting) or count < self._least
        return wanted and not self._closed and count < self._most + self._away

    def _wait_before_start(self) -> float:
        if self._patience is not None:
            return self._patience
        # The median; importing ``statistics`` takes longer than the rest of this package.
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
        get_event_thread().after(patience, self._grow_if_waiting)

    def _start_one(self) -> None:
        """
        Start one worker, which ``_starting`` already counts.
        """
        interpreter = self._interpreter
        if interpreter is not None:
            self._start_with(interpreter)
        elif self.environment.is_built() and not get_event_thread().is_current_thread():
            self._find_environment(NoneWaiting(self.waiting))
        else:
            threading.Thread(target=self._build, name="fal-core build", daemon=True).start()

    def _build(self) -> None:
        if not self.environment.is_built():
            self._report(State("building"))
        self._find_environment(NoneWaiting(self.waiting))

    def _find_environment(self, cancelled: threading.Event) -> None:
        """
        Start a worker with the environment's interpreter, building that if necessary.
        """
        try:
            interpreter = self.environment.build(self._report, cancelled)
        except BaseException as error:
            self._refuse_waiting(error)
            return
        self._interpreter = interpreter
        self._start_with(interpreter)

    def _start_with(self, interpreter: Interpreter) -> None:
        self._report(State("starting"))
        try:
            worker = self._start(self, interpreter)
        except (OSError, HostError) as error:
            self._refuse_waiting(error)
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

    def _refuse_waiting(self, reason: BaseException) -> None:
        """
        End the waiting calls, since no worker can be started for them.
        """
        with self._lock:
            self._starting -= 1
            waiting = self.waiting.take_all()
        for execution in waiting:
            execution.refuse(reason)

    def _report(self, event: Event) -> None:
        """
        Pass *event* to the waiting calls.
        """
        if not self.waiting.report(event) and isinstance(event, Log):
            self._log(event)

    def _forget(self, worker: Worker) -> None:
        with self._lock:
            self._roster.remove(worker)
