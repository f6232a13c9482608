"""Pools: the workers that may run the same calls, and the calls that wait for one."""

from __future__ import annotations

import threading
from collections.abc import Collection

from fal_core.calls import Call
from fal_core.environments import Interpreter
from fal_core.errors import HostClosed, HostError
from fal_core.events import Sink, State
from fal_core.hosts import Execution
from fal_core.pools.giving_way import claimed
from fal_core.pools.growth import GrowingPool
from fal_core.pools.waiting import UnbegunSink, WaitingExecution
from fal_core.sinks import get_event_thread
from fal_core.workers import Worker

#: Seconds for which a worker that was started for an expected call waits for it.
_EXPECTED = 5.0

#: Seconds that a thread which has launched a call may take to say so.
_PATIENCE = 10.0


class Pool(GrowingPool):
    """
    Workers that may run the same calls.

    What it is made of is documented at :class:`~fal_core.pools.growth.GrowingPool`.
    """

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
        """Run *call* in an idle worker, or let it wait for one."""
        if call.sources:
            self._outdated.end(call)
        while True:
            with self._lock:
                if self._closed:
                    raise HostClosed(self.host)
                # The call that was expected has come.
                was_expected, self._expecting = self._expecting, False
                if not self._roster.idle:
                    waiting = WaitingExecution(self.waiting, call, sink)
                    self.waiting.append(waiting)
                    break
                worker = self._roster.idle.pop()
                if worker.hello is None:
                    worker = self._roster.swap(worker)
            is_up = worker.hello is not None
            if was_expected or not is_up:
                waiting = WaitingExecution(self.waiting, call, sink)
                if was_expected and not self.waiting.pass_on(waiting):
                    self.worker_idle(worker)
                    return waiting
            try:
                if not is_up:
                    self._launch_in(worker, waiting)
                    return waiting
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
        if not was_expected or self.waiting.add(waiting):
            self._grow()
        return waiting

    def _assign(self, waiting: WaitingExecution, worker: Worker) -> None:
        """Run a call that has waited in *worker*."""
        try:
            self._launch_in(worker, waiting)
        except ConnectionError:
            self._put_back(waiting, worker)

    def _launch_in(self, worker: Worker, waiting: WaitingExecution) -> None:
        """
        Run a call in *worker*, and once more in another one if that is lost before it came up
        since what had started it has ended.

        Raises:
            ConnectionError: The worker is gone, or does not fit the call.
        """

        sink = waiting.sink
        execution: Execution | None = None

        def again() -> bool:
            # The thread that launches it is about to say so.
            is_over = worker.is_orphan and waiting.wait_until_settled(_PATIENCE)
            if not is_over or worker.hello is not None or waiting.inner is not execution:
                return False
            return waiting.take_back() and self._wait_again(waiting, worker)

        if worker.hello is None:
            sink = UnbegunSink(sink, again).for_host()
        execution = worker.launch(waiting.call, sink)
        self.startups.called(worker)
        waiting.settle(execution)

    def _put_back(self, waiting: WaitingExecution, worker: Worker) -> None:
        """
        Let a call wait again, as the next one, since its worker has exited or is retired.

        If the worker never came up, another one would not either, and the call ends, unless
        what had started the worker has ended.
        """

        def end() -> None:
            reason = worker.why()
            again = worker.is_orphan and waiting.take_back()
            if not (again and self._wait_again(waiting, worker)):
                waiting.refuse(reason)

        is_gone = worker.fits(waiting.call)
        if is_gone and worker.hello is None:
            # Finding out why may take a while.
            threading.Thread(target=end, name="fal-core lost", daemon=True).start()
            return
        if is_gone:
            worker.close()
        with self._lock:
            if not self._closed:
                self.waiting.appendleft(waiting)
            if is_gone:
                self._roster.remove(worker)
            else:
                self._roster.retire(worker)
        if self._closed:
            waiting.refuse(HostClosed(self.host))
        self._grow()

    def _wait_again(self, waiting: WaitingExecution, worker: Worker) -> bool:
        """Let a call wait as the next one whose worker has ended before it came up."""
        with self._lock:
            self._roster.remove(worker)
            if not self._closed:
                self.waiting.appendleft(waiting)
        if self._closed:
            waiting.refuse(HostClosed(self.host))
        self._grow()
        return True

    # -- what its workers tell ------------------------------------------------------

    def worker_idle(self, worker: Worker) -> None:
        """Give *worker* the next waiting call, or let it wait for one."""
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
        if worker.hello is None and not worker.is_orphan:
            # Another one would not come up either, unless it is built anew: what was built
            # may have been removed.
            self._pause()
            self.interpreter: Interpreter | None = None
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
        """Stop every worker and refuse the calls that wait."""
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
        """Stop the idle workers, and the others once they have been idle for long enough."""
        with self._lock:
            self._limits.least = 0
            self._upkeep.least = 0
            idle = self._roster.take_idle()
        for worker in idle:
            worker.stop()

    def give_way(self, uuids: Collection[str] | None = None) -> bool:
        """
        Stop the worker that has been idle for longest and has one of the devices *uuids*, or
        for None regardless of its devices; return whether there was one that may be stopped.
        """
        with self._lock:
            roster = self._roster
            resting = list(roster.resting(0))
            if uuids is not None:
                resting = claimed.holders(resting, uuids)
            if not resting or self.worker_count <= self._upkeep.least:
                return False
            roster.remove(resting[0])
        resting[0].stop()
        return True

    def abandon(self) -> None:
        """Release the workers in a forked child; they belong to the parent process."""
        for worker in self._roster.workers:
            worker.abandon()
        self.release()
