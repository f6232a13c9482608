"""
Services: calls that are reached from outside, each in a worker of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import attrs

from fal_core.calling import LateExecution
from fal_core.calls import Call
from fal_core.declaring import HealthCheck
from fal_core.errors import HostError, StartupTimeout, WorkerLost
from fal_core.events import Event, Exited, Message, Ready, Sink, State
from fal_core.sinks import SinkAround, get_event_thread
from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import listens
from fal_host_local.pools.pools import Pool
from fal_host_local.services.ports import ServicePort, claim_loopback_port, claim_port, seclude
from fal_host_local.services.readiness import Watch

#: Seconds beyond its timeout that a served application has to report that its setup took
#: too long, and where it hangs. It counts from when the setup begins, which a worker on a
#: busy machine reaches seconds later.
_GRACE = 10.0

#: Seconds that a service which is stopped has to send what it printed.
_LAST_WORDS = 1.0


class ServiceExecution(SinkAround):
    """
    A service: a call with a worker of its own, and the sink around its sink.

    Arguments:
        pool: Starts its worker.

        ended: Called once when the call has ended.
    """

    def __init__(self, call: Call, sink: Sink, pool: Pool, ended: Callable[[], object]) -> None:
        # Events are passed on under the lock, and none after the end.
        super().__init__(self._tell)
        self._call = call
        self._outer_sink = sink
        self._pool = pool
        self._notify = ended
        self._check = HealthCheck.read(call.host_options.health_check_config)
        self._inner = LateExecution(call.id)
        self._port: ServicePort | None = None
        self._timeout = call.host_options.startup_timeout
        self._watch: Watch | None = None
        self._ready = False
        self._reason: HostError | None = None
        # A sink takes one event at a time, and may drain or cancel the call while it does.
        self._lock = threading.RLock()

    def claim_port(self) -> None:
        """
        Claim the port that the function wants, if it wants a certain one, or have it run in
        a network of its own.

        Raises:
            PortTaken: Another service or process has it.
        """
        call, pool = self._call, self._pool
        if call.own_network is not None and not networks.missing():
            pool.enter_network = partial(seclude, own=call.own_network)
        wanted = call.gateway.exposed_port
        # A served application may have any port where it is given port 0.
        if wanted is None or (call.gateway.serve and not wanted):
            return
        claim = claim_loopback_port if call.gateway.serve else claim_port
        self._port = port = claim(wanted, call.name, call.id)
        pool.release = port.release
        if port.has_own_network:
            pool.enter_network = port.enter_network

    def start(self) -> None:
        """
        Launch the call.
        """
        call, port = self._call, self._port
        if call.gateway.serve:
            call = call.at_ports(0, 0)
        elif port is not None:
            self._watch = Watch(
                port.port, self._check, self._is_open, self._answers, self._fails
            )
        self._inner.settle(self._pool.launch(call, self.for_host()))

    @property
    def reference(self) -> str:
        return self._call.id

    def send(self, message: Message) -> None:
        self._inner.send(message)

    def drain(self) -> None:
        if not self.ended:
            if self._watch is not None and self._ready:
                # It takes no more requests, health checks included.
                self._watch.stop()
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
        if self._watch is not None:
            get_event_thread().after(0, self._watch.probe)
        if self._timeout is not None:
            # A served application can tell what took so long, and reports it first.
            grace = _GRACE if self._watch is None else 0
            get_event_thread().after(self._timeout + grace, self._give_up)

    def on_ready(self, ready: Ready) -> None:
        """
        Report that the service is ready, once it passes its own health check.
        """
        # A service that a control plane launches reports other urls; the plane checks it.
        url = ready.urls.get("run")
        if self._check is None or self._watch is not None or url is None:
            self._tell_ready(ready)
            return
        self._watch = Watch(
            urlsplit(url).port or 80,
            self._check,
            lambda: True,
            lambda: self._tell_ready(ready),
            self._fails,
            has_started=True,
        )
        get_event_thread().after(0, self._watch.probe)

    def on_exited(self, exited: Exited) -> None:
        if self._watch is not None:
            self._watch.stop()
        # When its end is reported its port is free, so the worker has to be gone.
        threading.Thread(
            target=self._end_worker, args=(exited,), name="fal-core service", daemon=True
        ).start()

    def _end_worker(self, exited: Exited) -> None:
        self._pool.wait_for_exit()
        if self._port is not None:
            self._port.release()
        self._notify()
        self._pool.close()
        if self._reason is not None:
            exited = attrs.evolve(exited, reason=self._reason)
        with self._lock:
            self.exited = exited
            self._outer_sink(exited)

    def _tell(self, event: Event) -> None:
        with self._lock:
            if not self.ended:
                self._outer_sink(event)

    def _tell_ready(self, event: Ready) -> None:
        with self._lock:
            if not self._reason:
                self._ready = True
                self._tell(State("ready"))
                self._tell(event)

    # -- on the event thread ----------------------------------------------------

    def _is_open(self) -> bool:
        port = self._port
        assert port is not None
        # The port of this machine is open before the service listens in its own network.
        return not port.has_own_network or any(
            listens(pid, port.inner) for pid in self._pool.pids
        )

    def _answers(self) -> None:
        assert self._port is not None
        self._tell_ready(Ready({"run": self._port.url}))

    def _fails(self) -> None:
        answered = "no longer" if self._ready else "never"
        self._stop(WorkerLost(detail=f"It {answered} answered its health check."))

    def _give_up(self) -> None:
        if not self._ready:
            assert self._timeout is not None
            self._stop(StartupTimeout(self._timeout))

    def _stop(self, reason: HostError) -> None:
        with self._lock:
            if self.ended:
                return
            self._reason = reason
        self._inner.cancel(_LAST_WORDS)
