"""
Services: calls that are reached from outside, each in a worker of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import attrs

from fal_core.calls import Call
from fal_core.errors import HostError, StartupTimeout, WorkerLost
from fal_core.events import Event, Exited, Ready, Sink, State
from fal_core.hosts import Execution
from fal_core.sinks.event_thread import get_reader
from fal_core_worker.serving.ports import listens
from fal_core_worker.stream.frames import Frame
from fal_host_local.pools import Pool
from fal_host_local.ports import Place, find_place, take_port
from fal_host_local.readiness import HealthCheck, Watch

#: Seconds that a server of ours has to say itself that its setup took too long, and where
#: it hangs. It counts them from when the setup begins, and a worker on a busy machine
#: takes seconds to come that far.
_GRACE = 10.0

#: Seconds that a service which did not come up has to tell what it printed.
_LAST_WORDS = 1.0


def find_place_of(call: Call) -> Place | None:
    """
    Return where a function is reached that wants a certain port; None where any will do.

    Raises:
        PortTaken: Somebody else has the port.
    """
    port = call.gateway.exposed_port
    if call.gateway.serve:
        return take_port(port, call.name, call.id) if port else None
    return None if port is None else find_place(port, call.name, call.id)


class ServiceExecution:
    """
    A service: a call that has a worker for itself.

    Arguments:
        pool: Where its worker is started.

        ended: Called once when the call has ended.
    """

    def __init__(self, call: Call, sink: Sink, pool: Pool, ended: Callable[[], object]) -> None:
        self._call = call
        self._sink = sink
        self._pool = pool
        self._ended = ended
        self._check = HealthCheck.read(call.host_options.health_check_config)
        self._inner: Execution | None = None
        self._timeout = call.host_options.startup_timeout
        self._watch: Watch | None = None
        self._ready = False
        self._exited = False
        self._reason: HostError | None = None
        # A sink is told one event at a time; it may drain or cancel from within.
        self._lock = threading.RLock()

    def start(self) -> None:
        """
        Launch the call.
        """
        call, place = self._call, self._pool.place
        if call.gateway.serve:
            call = call.at_ports(0, 0)
        elif place is not None:
            self._watch = Watch(
                place.port, self._check, self._is_open, self._answers, self._fails
            )
        self._inner = self._pool.launch(call, self._take)

    @property
    def reference(self) -> str:
        return self._call.id

    def send(self, frame: Frame) -> None:
        if self._inner is not None:
            self._inner.send(frame)

    def drain(self) -> None:
        if self._inner is not None and not self._exited:
            if self._watch is not None and self._ready:
                # It takes no more requests, those for its health among them.
                self._watch.stop()
            self._tell(State("draining"))
            self._inner.drain()

    def cancel(self, grace: float) -> None:
        if self._inner is not None:
            self._inner.cancel(grace)

    # -- what happens to it --------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, State) and event.name == "running":
            self._tell(event)
            self._begin()
        elif isinstance(event, Ready):
            self._take_ready(event)
        elif isinstance(event, Exited):
            self._end(event)
        else:
            self._tell(event)

    def _begin(self) -> None:
        if self._watch is not None:
            get_reader().after(0, self._watch.ask)
        if self._timeout is not None:
            # One that announces itself can say what took so long; it is asked first.
            grace = _GRACE if self._watch is None else 0
            get_reader().after(self._timeout + grace, self._give_up)

    def _take_ready(self, event: Ready) -> None:
        """
        Tell that a service has started, once its own check says that it is well.
        """
        # What a control plane launches is asked by the plane, and tells other urls.
        url = event.urls.get("run")
        if self._check is None or self._watch is not None or url is None:
            self._tell_ready(event)
            return
        self._watch = Watch(
            urlsplit(url).port or 80,
            self._check,
            lambda: True,
            lambda: self._tell_ready(event),
            self._fails,
            has_started=True,
        )
        get_reader().after(0, self._watch.ask)

    def _end(self, event: Exited) -> None:
        if self._watch is not None:
            self._watch.stop()
        # Its port is free when its end is told, for which the worker has to be gone.
        threading.Thread(
            target=self._end_worker, args=(event,), name="fal-core service", daemon=True
        ).start()

    def _end_worker(self, event: Exited) -> None:
        self._pool.await_end()
        if self._pool.place is not None:
            self._pool.place.leave()
        self._ended()
        self._pool.close()
        if self._reason is not None:
            event = attrs.evolve(event, reason=self._reason)
        with self._lock:
            self._exited = True
            self._sink(event)

    def _tell(self, event: Event) -> None:
        with self._lock:
            if not self._exited:
                self._sink(event)

    def _tell_ready(self, event: Ready) -> None:
        with self._lock:
            if not self._reason:
                self._ready = True
                self._tell(State("ready"))
                self._tell(event)

    # -- on the reader's thread ----------------------------------------------------

    def _is_open(self) -> bool:
        place = self._pool.place
        assert place is not None
        # The port of this machine is open before anybody listens behind it.
        return not place.is_apart or any(listens(pid, place.inner) for pid in self._pool.pids)

    def _answers(self) -> None:
        assert self._pool.place is not None
        self._tell_ready(Ready({"run": self._pool.place.url}))

    def _fails(self) -> None:
        answered = "no longer" if self._ready else "never"
        self._stop(WorkerLost(detail=f"It {answered} answered its health check."))

    def _give_up(self) -> None:
        if not self._ready:
            assert self._timeout is not None
            self._stop(StartupTimeout(self._timeout))

    def _stop(self, reason: HostError) -> None:
        with self._lock:
            if self._exited or self._inner is None:
                return
            self._reason = reason
        self._inner.cancel(_LAST_WORDS)
