"""Growth: how a pool starts workers for the calls that wait."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakSet

from fal_core.calls import Call, SourceArchive
from fal_core.environments import Environment, Interpreter
from fal_core.errors import HostError, PluginError, StartupTimeout
from fal_core.events import Log
from fal_core.options import HostOptions
from fal_core.pools.giving_way import claimed
from fal_core.pools.starts import Begin, Start, no_worker
from fal_core.pools.upkeep import Roster, Upkeep
from fal_core.pools.waiting import WaitingCalls
from fal_core.reprs import in_one_line
from fal_core.sinks import get_event_thread
from fal_core.workers import Beginning, Worker


class GrowingPool(ABC):
    """
    Starts workers while calls wait, as many as there may be.

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
        self._limits = limits = PoolLimits(options, count, once=once)
        self._lock = threading.Lock()
        self.waiting: WaitingCalls = WaitingCalls(self._lock)
        self.startups: Startups = Startups(options.startup_timeout, has_setup=has_setup)
        self._roster = Roster()
        self._outdated = OutdatedWorkers(self._roster, self._lock)
        self._upkeep = Upkeep(
            self._roster, self._lock, keep_alive=limits.keep_alive, least=limits.least
        )
        self._away = 0
        self._starting = 0
        self._closed = False
        self._expecting = False

    @abstractmethod
    def worker_ready(self, worker: Worker) -> None:
        """Take note that *worker* has said hello."""

    @abstractmethod
    def worker_idle(self, worker: Worker) -> None:
        """Give *worker* the next waiting call, or let it wait for one."""

    @abstractmethod
    def worker_ended(self, worker: Worker, reason: HostError) -> HostError:
        """Take note that *worker* has ended unasked, and return the reason for its calls."""

    @abstractmethod
    def call_away(self, change: int) -> None:
        """Count the workers that wait for a call in this process."""

    @property
    def worker_count(self) -> int:
        """The number of workers."""
        return len(self._roster.workers)

    @property
    def due(self) -> int:
        """How many of the calls that wait the workers take that are being started."""
        return self._starting * self._limits.multiplex

    def is_wanted(self) -> bool:
        """Tell whether a worker that is being started is wanted."""
        return not self._closed and (
            bool(self.waiting) or self._expecting or self.worker_count < self._limits.least
        )

    def _grow(self) -> None:
        """Start a worker for the waiting calls, at once or after a delay."""
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
        """Return whether one more worker is needed and allowed; under the lock."""
        counts = self.worker_count, self._starting, len(self.waiting), self._away
        return not self._closed and self._limits.allow(*counts)

    def _wait_before_start(self) -> float:
        patience = self._limits.patience
        return self.startups.usual if patience is None else patience

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
        # It is counted in ``_starting`` already.
        is_built = self.interpreter is not None or (
            not get_event_thread().is_current_thread() and self.environment.is_built()
        )
        if self._quick and is_built:
            self._begin()
        else:
            threading.Thread(target=self._begin, name="fal-core start", daemon=True).start()

    def _begin(self) -> None:
        start = Start(self)
        multiplex, logging = self._limits.multiplex, self.options.logging
        with Beginning(multiplex=multiplex, logging=logging) as beginning:
            try:
                with start.watched():
                    worker = self._begin_worker(start)
                if not isinstance(worker, Worker):
                    problem = (
                        f"begin() has to return a Worker, and returned {no_worker(worker)}."
                    )
                    raise PluginError(self.host, problem, "Host")
                worker.serve_for(self, multiplex=multiplex, logging=logging)
                if worker.gone:
                    # It did not come up, and another one would not either.
                    raise worker.why()
            except BaseException as error:
                for made in beginning.workers:
                    made.kill()
                self._note_failure(error, start)
                if isinstance(error, KeyboardInterrupt):
                    # Where the caller's own thread starts it.
                    raise
                return
        self.last_worker = worker
        if start.devices:
            claimed.note(worker, (device.uuid for device in start.devices))
        with self._lock:
            self._starting -= 1
            closed = self._closed
            if not closed:
                self._roster.add(worker)
            again = self.worker_count + self._starting < self._limits.least and not closed
            self._starting += again
        if closed:
            worker.kill()
            return
        self.startups.begin(worker)
        for _ in range(multiplex):
            self.worker_idle(worker)
        if again:
            self._start_one()

    def _note_failure(self, reason: BaseException, start: Start) -> None:
        """
        End the calls that waited for a worker which cannot be started. While others run,
        calls go on to wait for these.
        """
        with self._lock:
            self._starting -= 1
            # A call that came after all others were cancelled was not meant.
            is_unwanted = start.cancelled.is_set()
            stays = is_unwanted or self._has_others(reason)
            waiting = [] if stays else self.waiting.take_all()
        if not (waiting or stays):
            self.waiting.keep_failure(reason)
        for execution in waiting:
            execution.refuse(reason)
        if not is_unwanted:
            self._pause()
            said = f"A further worker could not be started: {in_one_line(reason)}"
            self.waiting.report(Log(said, "STDERR", "BRIDGE", time.time()))
        if stays:
            self._grow()

    def _has_others(self, reason: BaseException) -> bool:
        """
        Tell whether calls can wait for other workers than one that could not be started;
        under the lock.
        """
        if any(worker.hello for worker in self._roster.workers):
            return True
        # Only a start that fails needs it.
        from fal_core.claims import DevicesHeld

        # What keeps others from coming up is the same for all, unless these have the devices.
        return isinstance(reason, DevicesHeld) and self.worker_count + self._starting > 0

    def _pause(self) -> None:
        """Start no further worker for a while."""
        get_event_thread().after(self._limits.pause(), self._grow)


#: Of how many functions the archives are remembered.
_MOST = 64


class OutdatedWorkers:
    """
    Ends the workers of a pool that have other versions of local modules than calls bring.

    Arguments:
        lock: The pool's.
    """

    def __init__(self, roster: Roster, lock: threading.Lock) -> None:
        self._roster = roster
        self._lock = lock
        # By their ids. All calls of a function have the same tuple until a module is edited.
        self._seen: OrderedDict[int, tuple[SourceArchive, ...]] = OrderedDict()

    def end(self, call: Call) -> None:
        """
        Retire the workers that do not fit *call*.

        Nothing happens if an earlier call has brought the same sources.
        """
        if id(call.sources) in self._seen:
            return
        with self._lock:
            # Kept, so that no other tuple gets its id.
            self._seen[id(call.sources)] = call.sources
            if len(self._seen) > _MOST:
                self._seen.popitem(last=False)
            outdated = [each for each in self._roster.workers if not each.fits(call)]
            for worker in outdated:
                self._roster.retire(worker)
        for worker in outdated:
            worker.retire()


#: Seconds for which an idle worker is kept where no option says.
KEEP_ALIVE = 10.0

#: Seconds for which no further worker is started after one could not be.
_PAUSE = 5.0


class PoolLimits:
    """
    What the options of a pool's calls say about its workers.

    Arguments:
        count: The most workers where no option says.

        once: Whether a worker ends after its first call.

    Attributes:
        multiplex: How many calls a worker runs at once.

        most: How many workers there may be.

        least: How many always stay.

        keep_alive: Seconds for which an idle worker is kept.

        patience: Seconds that a call waits for a busy worker; None for what starting
            another one takes.
    """

    def __init__(self, options: HostOptions, count: int, *, once: bool) -> None:
        self.multiplex: int = 1 if once else max(1, options.max_multiplexing or 1)
        self.most: int = options.max_concurrency or max(count, options.min_concurrency or 0)
        self.least: int = 0 if once else options.min_concurrency or 0
        self.keep_alive: float = (
            KEEP_ALIVE if options.keep_alive is None else options.keep_alive
        )
        self.patience: float | None = options.scaling_delay
        self._paused_until = 0.0

    def allow(self, workers: int, starting: int, waiting: int, away: int) -> bool:
        """
        Return whether one more worker is needed, and allowed.

        Arguments:
            workers: How many there are.

            starting: How many are being started.

            waiting: How many calls wait.

            away: How many workers wait for a call in this process.
        """
        count = workers + starting
        if time.monotonic() < self._paused_until:
            # Those that run may take the calls, and none is needed without any.
            return waiting > 0 and not count
        # Those that are being started take the first of the calls that wait.
        wanted = waiting > starting * self.multiplex or count < self.least
        return wanted and count < self.most + away

    def pause(self) -> float:
        """
        Start no further worker for a while, as one could not be started. Return for how many
        seconds.
        """
        self._paused_until = time.monotonic() + _PAUSE
        return _PAUSE + 0.01


# A worker is ready when it has started and has run the setup of its function, if there is
# one. The time in which it waits for its first call does not count.

#: Seconds that starting a worker is assumed to take until one has been started.
_FIRST_GUESS = 0.05


class Startups:
    """
    The startups of the workers of one pool.

    Arguments:
        timeout: Seconds that each may take. None for no limit.

        has_setup: Whether the functions of the pool have a setup.

    Attributes:
        limits_setup: Whether :meth:`called` has anything to do.
    """

    def __init__(self, timeout: float | None, *, has_setup: bool) -> None:
        self._timeout = timeout
        self.limits_setup: bool = timeout is not None and has_setup
        self._began: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        self._spent: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        self._usual: deque[float] = deque(maxlen=15)
        self._called: WeakSet[Worker] = WeakSet()
        self._overdue: WeakSet[Worker] = WeakSet()

    @property
    def usual(self) -> float:
        """Seconds that starting a worker usually takes: the median of the last ones."""
        # Importing ``statistics`` takes longer than the rest of this package.
        spent = sorted(self._usual)
        return spent[len(spent) // 2] if spent else _FIRST_GUESS

    def begin(self, worker: Worker) -> None:
        """Begin the startup of *worker*, which was just started."""
        self._began[worker] = time.monotonic()
        if self._timeout is not None:
            get_event_thread().after(self._timeout, lambda: self._check_hello(worker))

    def started(self, worker: Worker) -> None:
        """Take note that *worker* has said hello."""
        began = self._began.get(worker)
        if began is None or worker.hello is None:
            return
        # Its clock tells it best, where it is that of this machine: the hello may have
        # waited to be read.
        spent, most = worker.hello["at"] - began, time.monotonic() - began
        if not 0 <= spent <= most:
            spent = most
        self._spent[worker] = spent
        self._usual.append(spent)

    def called(self, worker: Worker) -> None:
        """Begin the setup of *worker*, with its first call, in the time that is left."""
        if self._timeout is None or not self.limits_setup:
            return
        began = self._began.get(worker)
        if began is not None and worker not in self._called:
            self._called.add(worker)
            spent = self._spent.get(worker)
            if spent is None:
                spent = time.monotonic() - began
            left = max(0.0, self._timeout - spent)
            get_event_thread().after(left, lambda: self._check_setup(worker))

    def error(self, worker: Worker) -> StartupTimeout | None:
        """Return the error for *worker* if it was killed because it took too long."""
        if worker not in self._overdue:
            return None
        assert self._timeout is not None
        return StartupTimeout(self._timeout)

    def _check_hello(self, worker: Worker) -> None:
        if worker.hello is None:
            self._kill(worker)

    def _check_setup(self, worker: Worker) -> None:
        if worker.executions and not worker.prepared:
            self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        if not worker.gone:
            self._overdue.add(worker)
            worker.kill()
