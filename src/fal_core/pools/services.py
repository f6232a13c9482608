"""Services: calls that are reached from outside, each in a worker of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import attrs

from fal_core.calling import LateExecution
from fal_core.calls import Call
from fal_core.declaring import HealthCheckConfig
from fal_core.errors import HostError, StartupTimeout, WorkerLost
from fal_core.events import Event, Exited, Message, Ready, Sink, State
from fal_core.pools.pool import Pool
from fal_core.pools.readiness import Watch
from fal_core.reprs import in_one_line
from fal_core.sinks import SinkAround, get_event_thread
from fal_core.sinks.breaches import breach_of, failure_of, log_breach
from fal_core.workers import Worker

#: Seconds beyond its timeout that a served application has to report that its setup took
#: too long, and where it hangs. It counts from when the setup begins, which a worker on a
#: busy machine reaches seconds later.
_GRACE = 10.0

#: Seconds that a service which is stopped has to send what it printed.
_LAST_WORDS = 1.0

#: Returns where the URLs of a service, as its worker sees them, are reached from here.
Reach = Callable[[Worker, Mapping[str, str]], Mapping[str, str]]


class ServiceExecution(SinkAround):
    """
    A service: a call with a worker of its own, and the sink around its sink.

    Arguments:
        pool: Starts its worker.

        ended: Called once when the call has ended.

        reach: Finds out where it is reached; on a thread of its own, as it may take long.
            None where the URLs of the worker are right.
    """

    def __init__(
        self,
        call: Call,
        sink: Sink,
        pool: Pool,
        ended: Callable[[], object],
        reach: Reach | None = None,
    ) -> None:
        # Events are passed on under the lock, and none after the end.
        super().__init__(self._tell)
        self.call = call
        self.pool = pool
        self.watch: Watch | None = None
        self.is_ready: bool = False
        self._outer_sink = sink
        self._notify = ended
        self._reach = reach
        self._check = HealthCheckConfig.read(call.host_options.health_check_config)
        self._inner = LateExecution(call.id)
        self._timeout = call.host_options.startup_timeout
        self._reason: HostError | None = None
        # A sink takes one event at a time, and may drain or cancel the call while it does.
        self._lock = threading.RLock()

    def start(self) -> None:
        """Launch the call."""
        call = self.call
        if call.gateway.serve:
            call = call.at_ports(*self.listening_ports())
        self._inner.settle(self.pool.launch(call, self.for_host()))

    def listening_ports(self) -> tuple[int, int]:
        """
        Return the ports that a served function listens on, for requests and for metrics; 0
        for a free one.
        """
        return 0, 0

    @property
    def reference(self) -> str:
        return self.call.id

    def send(self, message: Message) -> None:
        self._inner.send(message)

    def drain(self) -> None:
        if not self.ended:
            if self.watch is not None and self.is_ready:
                # It takes no more requests, health checks included.
                self.watch.stop()
            # The event thread reports it. Its sink may be waiting there for this thread to
            # go on, and would never end if this thread waited for the sink.
            get_event_thread().after(0, lambda: self._tell(State("draining")))
            self._inner.drain()

    def cancel(self, grace: float) -> None:
        self._inner.cancel(grace)

    # -- its events ------------------------------------------------------------------

    def on_state(self, state: State) -> None:
        self._tell(state)
        if state.name == "running":
            self._begin()

    def _begin(self) -> None:
        brings_server = not self.call.gateway.serve
        if brings_server:
            self._find_urls(self.own_urls(), self.probe)
        if self._timeout is not None:
            # A served application can tell what took so long, and reports it first.
            grace = 0 if brings_server else _GRACE
            get_event_thread().after(self._timeout + grace, self._give_up)

    def on_ready(self, ready: Ready) -> None:
        """Report that the service is ready, once it passes its own health check."""
        self._find_urls(ready.urls, self._take_urls)

    def _take_urls(self, urls: Mapping[str, str]) -> None:
        # A service that a control plane launches reports other urls; the plane checks it.
        if self._check is None or self.watch is not None or "run" not in urls:
            self._tell_ready(Ready(urls))
        else:
            self.probe(urls, has_started=True)

    def _find_urls(
        self, urls: Mapping[str, str], take: Callable[[Mapping[str, str]], None]
    ) -> None:
        """Give *take* the URLs at which the service is reached from here."""
        reach, worker = self._reach, self.pool.last_worker
        if reach is None or worker is None:
            take(urls)
            return

        def find() -> None:
            try:
                found = reach(worker, urls)
                problem = _problem_of(found, urls)
            except BaseException as error:
                if not isinstance(error, HostError):
                    error = failure_of(self.pool.host, "reach", error)
                # A worker that is gone tells why.
                if not worker.gone:
                    self._stop(error)
            else:
                if problem is None:
                    take(found)
                else:
                    self._stop(breach_of(self.pool.host, problem))

        threading.Thread(target=find, name="fal-core reach", daemon=True).start()

    def probe(self, urls: Mapping[str, str], *, has_started: bool = False) -> None:
        """
        Report that the service is ready at *urls* once it accepts connections, or passes
        its health check.

        Arguments:
            has_started: Whether it has reported that it has started.
        """
        parts = urlsplit(urls["run"])
        self.watch = Watch(
            parts.port or 80,
            self._check,
            lambda: has_started or self.is_open(),
            lambda: self._tell_ready(Ready(urls)),
            self._fails,
            address=parts.hostname or "127.0.0.1",
            has_started=has_started,
        )
        get_event_thread().after(0, self.watch.probe)

    def own_urls(self) -> Mapping[str, str]:
        """Return the URLs of a function that brings a server of its own."""
        return {"run": f"http://127.0.0.1:{self.call.gateway.exposed_port}"}

    def is_open(self) -> bool:
        """Return whether a connection to the port reaches the service, if anything."""
        return True

    def on_exited(self, exited: Exited) -> None:
        if self.watch is not None:
            self.watch.stop()
        # When its end is reported its port is free, so the worker has to be gone.
        threading.Thread(
            target=self._end, args=(exited,), name="fal-core service", daemon=True
        ).start()

    def _end(self, exited: Exited) -> None:
        if self.pool.last_worker is not None:
            self.pool.last_worker.stop_and_wait()
        try:
            self.release()
        except Exception as error:
            # The service has ended all the same.
            said = f"{type(error).__name__}: {in_one_line(error)}"
            log_breach(self.pool.host, f"its release raised {said}.")
        self._notify()
        self.pool.close()
        if self._reason is not None:
            exited = attrs.evolve(exited, reason=self._reason)
        with self._lock:
            self.exited: Exited | None = exited
            self._outer_sink(exited)

    def release(self) -> None:
        """Give up what was claimed for the service."""

    def _tell(self, event: Event) -> None:
        with self._lock:
            if not self.ended:
                self._outer_sink(event)

    def _tell_ready(self, event: Ready) -> None:
        with self._lock:
            if not self._reason:
                self.is_ready = True
                self._tell(State("ready"))
                self._tell(event)

    # -- on the event thread ----------------------------------------------------

    def _fails(self) -> None:
        answered = "no longer" if self.is_ready else "never"
        self._stop(WorkerLost(detail=f"It {answered} answered its health check."))

    def _give_up(self) -> None:
        if not self.is_ready:
            assert self._timeout is not None
            self._stop(StartupTimeout(self._timeout))

    def _stop(self, reason: HostError) -> None:
        with self._lock:
            if self.ended:
                return
            self._reason = reason
        self._inner.cancel(_LAST_WORDS)


def _problem_of(found: object, urls: Mapping[str, str]) -> str | None:
    """Return what is wrong with what ``reach`` has returned for *urls*, if anything."""
    if not isinstance(found, Mapping):
        kind = type(found).__name__.removesuffix("Type")
        return (
            f"its reach returned {kind}. Return a mapping of the URLs that it was given, each "
            "as it is reached from here."
        )
    wrong = [name for name, url in found.items() if not isinstance(url, str)]
    missing = [name for name in urls if name not in found]
    if missing or wrong:
        listed = " and ".join(map(repr, missing or wrong))
        return f"its reach returned no URL for {listed}. Return one for each that it was given."
    return None
