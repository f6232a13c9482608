"""
Pools: the workers that may run the same calls, and the calls that wait for one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fal_core.calls import Call
from fal_core.environments import Environment, Interpreter
from fal_core.errors import Cancelled, HostClosed, HostError, PluginError
from fal_core.events import Sink, State
from fal_core.hosts import Execution
from fal_core.options import HostOptions
from fal_core.pools.outdated import OutdatedWorkers
from fal_core.pools.starts import Begin, Start, no_worker
from fal_core.pools.startups import Startups
from fal_core.pools.upkeep import Roster, Upkeep
from fal_core.pools.waiting import WaitingCalls, WaitingExecution
from fal_core.sinks import get_event_thread
from fal_core.workers import Worker

#: Seconds for which an idle worker is kept where no option says.
KEEP_ALIVE = 10.0

#: Seconds for which a worker that was started for an expected call waits for it.
_EXPECTED = 5.0


class Pool:
    """
    Workers that may run the same calls.

    Arguments:
        host: The name of the host, for errors.

        environment: The environment of all these calls.

        options: The options of all these calls.

        begin: Starts a worker. It runs on a thread of its own, unless it is *quick*.

        count: The maximum number of workers where no option says.

        has_setup: Whether the functions have a setup.

        once: Whether a worker ends after its first call.

        quick: Whether *begin* takes no time where the environment is built.

    Attributes:
        waiting: The calls that wait for a worker.

        interpreter: That of the environment, once it is built.

        last_worker: The worker that was started last.

        origin: The file of the functions, if they have secrets.

        serves: Whether a service is all that runs here.

        release: Frees what a forked child inherited of the service that runs here.
    """

    origin: str | None = None
    serves = False
    release: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        host: str,
        environment: Environment,
        options: HostOptions,
        begin: Begin,
        *,
        count: int,
        has_setup: bool,
        once: bool = False,
        quick: bool = False,
    ) -> None:
        self.host = host
        self.environment = environment
        self.options = options
        self.interpreter: Interpreter | None = None
        self.last_worker: Worker | None = None
        self._begin_worker = begin
        self._once = once
        self._quick = quick
        self._multiplex = 1 if once else max(1, options.max_multiplexing or 1)
        self._most = options.max_concurrency or max(count, options.min_concurrency or 0)
        self._least = 0 if once else options.min_concurrency or 0
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
        self._starting = 0
        self._closed = False
        self._expecting = False

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
        self.waiting.expect(expected=True)
        get_event_thread().after(_EXPECTED, self._expect_no_more)
        self._start_one()

    def _expect_no_more(self) -> None:
        self._expecting = False
        self.waiting.expect(expected=False)
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
                # The call that was expected has come.
                was_expected, self._expecting = self._expecting, False
                if not self._roster.idle:
                    waiting = WaitingExecution(self.waiting, call, sink)
                    self.waiting.append(waiting)
                    break
                worker = self._roster.idle.pop()
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
        if was_expected:
            self.waiting.add(waiting)
        self._grow()
        return waiting

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
        if is_gone and worker.hello is None:
            # Finding out why may take a while.
            threading.Thread(
                target=lambda: waiting.refuse(worker.why()), name="fal-core lost", daemon=True
            ).start()
            return
        if is_gone:
            worker.close()
        with self._lock:
            self.waiting.appendleft(waiting)
            if is_gone:
                self._roster.remove(worker)
            else:
                self._roster.retire(worker)
        self._grow()

    # -- what its workers tell ------------------------------------------------------

    def worker_idle(self, worker: Worker) -> None:
        """
        Give *worker* the next waiting call, or let it wait for one.
        """
        with self._lock:
            if worker not in self._roster.workers:
                return
            # A worker may ask to be replaced.
            replaced = worker.stopped or (self._once and worker.call_count > 0)
            waiting = None
            if replaced:
                self._roster.remove(worker)
            elif self.waiting:
                waiting = self.waiting.popleft()
            elif self._once and not self._expecting:
                # The call that it was started for was cancelled.
                self._roster.remove(worker)
                replaced = True
            else:
                self._roster.rest(worker)
        if waiting is not None:
            self._assign(waiting, worker)
        elif replaced:
            if not worker.stopped:
                worker.retire()
            self._grow()
        elif not self._expecting:
            self._upkeep.begin()

    def worker_ready(self, worker: Worker) -> None:
        self.startups.started(worker)

    def worker_ended(self, worker: Worker, reason: HostError) -> HostError:
        with self._lock:
            self._roster.remove(worker)
        # Another one is started in its place, if calls wait.
        self._grow()
        return self.startups.error(worker) or reason

    def call_away(self, change: int) -> None:
        with self._lock:
            self._away += change
        # As many more workers may be started as wait for a call in this process.
        if change > 0:
            self._grow()

    # -- the end ----------------------------------------------------------------------

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
            execution.refuse(HostClosed(self.host))
        for worker in workers:
            worker.stop() if not worker.executions else worker.kill()

    def retire(self) -> None:
        """
        Stop the idle workers, and the others once they have been idle for long enough.
        """
        with self._lock:
            self._least = 0
            self._upkeep.least = 0
            idle = self._roster.take_idle()
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

    # -- starting workers --------------------------------------------------------------

    def is_wanted(self) -> bool:
        """
        Tell whether a worker that is being started is wanted.
        """
        return not self._closed and (
            bool(self.waiting) or self._expecting or self.worker_count < self._least
        )

    def _grow(self) -> None:
        """
        Start a worker for the waiting calls, at once or after a delay.
        """
        with self._lock:
            if not self._may_start():
                return
            # A worker that runs a call may be free before another one has started.
            patience = not self._once and self.worker_count + self._starting > self._away
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
        # Those that are being started take the first of the calls that wait.
        wanted = len(self.waiting) > self._starting * self._multiplex or count < self._least
        return wanted and not self._closed and count < self._most + self._away

    def _wait_before_start(self) -> float:
        return self.startups.usual if self._patience is None else self._patience

    def _grow_if_waiting(self) -> None:
        patience = self._wait_before_start()
        with self._lock:
            if not self._may_start():
                return
            building = self.interpreter is None and self._starting
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
        is_built = self.interpreter is not None or (
            not get_event_thread().is_current_thread() and self.environment.is_built()
        )
        if self._quick and is_built:
            self._begin()
        else:
            threading.Thread(target=self._begin, name="fal-core start", daemon=True).start()

    def _begin(self) -> None:
        start, worker = Start(self), None
        try:
            worker = self._begin_worker(start)
            if not isinstance(worker, Worker):
                problem = f"begin() has to return a Worker, and returned {no_worker(worker)}."
                raise PluginError(self.host, problem, "Host")
            worker.serve_for(self, multiplex=self._multiplex, logging=self.options.logging)
            if worker.gone:
                # It did not come up, and another one would not either.
                raise worker.why()
        except BaseException as error:
            if isinstance(worker, Worker):
                worker.kill()
            self._note_failure(error, start)
            return
        self.last_worker = worker
        with self._lock:
            self._starting -= 1
            closed = self._closed
            if not closed:
                self._roster.add(worker)
            again = self.worker_count + self._starting < self._least and not closed
            self._starting += again
        if closed:
            worker.kill()
            return
        self.startups.begin(worker)
        for _ in range(self._multiplex):
            self.worker_idle(worker)
        if again:
            self._start_one()

    def _note_failure(self, reason: BaseException, start: Start) -> None:
        """
        End the calls that waited for a worker which cannot be started.
        """
        with self._lock:
            self._starting -= 1
            # A call that came after all others were cancelled was not meant.
            is_unwanted = isinstance(reason, Cancelled) and start.cancelled.is_set()
            waiting = [] if is_unwanted else self.waiting.take_all()
        for execution in waiting:
            execution.refuse(reason)
        if is_unwanted:
            self._grow()
