"""
Executions: one ``Run`` of the service for each call, followed on a thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from fal_core.calls import Call
from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    FalCoreError,
    HostError,
    StartupTimeout,
)
from fal_core.events import Exited, Log, Message, Outcome, Phase, Ready, Sink, State
from fal_core.facts import with_facts
from fal_core.sinks.event_thread import Timer, get_reader
from fal_host_serverless import (
    channels,
    distributions,
    envelopes,
    followers,
    messages,
    probes,
    requests,
)
from fal_host_serverless.failures import RunFailed, RunFailedInside, translate_run

if TYPE_CHECKING:
    from fal_host_serverless.hosts import FalServerlessHost
    from fal_host_serverless.preparations import Preparation

#: Seconds that the service may take to end a run that has its result.
_ENDING = 10.0
#: Seconds that the service may take to stop a runner.
_STOPPING = 5.0
#: By this word servers of this project announce themselves; they send all lines of a
#: run before its result, with the levels that they have.
_ORDERLY = "fal-core-server"
#: How many of the builder's lines an error shows.
_LINES = 10


class ServerlessExecution:
    """
    A call that the service runs.
    """

    def __init__(self, host: FalServerlessHost, call: Call, sink: Sink) -> None:
        self.host = host
        self.call = call
        self._sink = sink
        self._lock = threading.Lock()
        self._stream: Any = None
        self._cancelled = False
        self._grace = 0.0
        self._phase: Phase = "queued"
        self._answered = False
        self._outcome: Outcome | None = None
        self._told = False
        self._failure: HostError | None = None
        self._url: str | None = None
        self._run_id = ""
        self._timers: list[Timer] = []
        self._over = threading.Event()
        self._built: deque[str] = deque(maxlen=_LINES)
        self._lines = messages.Lines(call)

    # -- the execution -----------------------------------------------------------

    @property
    def reference(self) -> str:
        return self.call.id

    def send(self, message: Message) -> None:
        """
        Do nothing: there is no stream that could be held back, and no call to home.
        """

    def drain(self) -> None:
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def cancel(self, grace: float) -> None:
        with self._lock:
            again, self._cancelled = self._cancelled, True
            self._grace = grace
            stream = self._stream
        if stream is None:
            return
        if grace <= 0 or again or self._is_service():
            stream.cancel()
        else:
            threading.Thread(target=self._interrupt, name="cancel", daemon=True).start()

    def start(self) -> None:
        """
        Follow the run on a thread beside this one.
        """
        followers.follow(self._follow)

    # -- the thread ----------------------------------------------------------------

    def _follow(self) -> None:
        reason: HostError | None = None
        self._sink(State("queued"))
        try:
            self._run()
        except grpc.RpcError as error:
            if self._outcome is None and self._failure is None:
                reason = self._explain(error)
        except FalCoreError as error:
            reason = error if isinstance(error, HostError) else RunFailed(str(error))
        except Exception as error:
            reason = RunFailed(f"The call could not be sent: {error}")
            reason.__cause__ = error
        if self._outcome is not None:
            self._tell_outcome()
            return
        if self._cancelled:
            reason = Cancelled()
            self._await_end()
        missing = RunFailedInside("The run ended without a result.")
        self._sink(Exited(reason=reason or self._failure or missing))

    def _run(self) -> None:
        with self.host.turns.taken(self.call, self._may_wait):
            if not self._cancelled:
                self._send()

    def _may_wait(self) -> bool:
        return not self._cancelled

    def _send(self) -> None:
        from fal_host_serverless.preparations import prepare

        deliveries = self.host.deliveries
        lean = deliveries.may_be_lean(self.call)
        try:
            prepared = prepare(self.host, self.call, self._sink)
            try:
                self._send_once(prepared, lean=lean)
            except envelopes.ArchiveMissing:
                # Nothing of the call has run.
                deliveries.miss(self.call)
                self._send_once(prepared, lean=False)
        finally:
            self._over.set()
            for timer in self._timers:
                get_reader().forget(timer)

    def _send_once(self, prepared: Preparation, *, lean: bool) -> None:
        from fal_host_serverless.running import run_request

        request = run_request(self.host, self.call, prepared, lean=lean)
        metadata = [*self.host.caller.metadata(), channels.ANNOUNCEMENT]
        if self.call.traceparent is not None:
            metadata.append(("traceparent", self.call.traceparent))
        with self._lock:
            if self._cancelled:
                return
            stub = channels.stub(self.host.address)
            self._stream = stub.Run(request, metadata=metadata)
        with channels.streaming(self._stream) as stream:
            for message in stream:
                if self._told:
                    # The stream is read to its end, so that the service is left in order.
                    continue
                ending = self._outcome is not None
                self._take(message)
                if self._outcome is not None and not ending:
                    if message.status.state == messages.SUCCEEDED and self._is_orderly():
                        self._tell_outcome()
                    self._after(_ENDING, self._stream.cancel)

    def _is_orderly(self) -> bool:
        """
        Tell whether the service is known to send nothing of a run after its result, and
        the levels of lines as they are.
        """
        return any(name == _ORDERLY for name, _ in self._stream.initial_metadata() or ())

    def _tell_outcome(self) -> None:
        """
        Tell how the call ended, once.
        """
        if not self._told and self._outcome is not None:
            self._told = True
            self._sink(self._outcome)
            self._sink(Exited())

    def _take(self, message: Any) -> None:
        self._run_id = message.run_id or self._run_id
        self._lines.guessed = not self._is_orderly()
        begun_before = self._lines.begun
        for log in messages.read_logs(message.logs, self._lines):
            self._note(log)
            if messages.is_wanted(log):
                self._sink(log)
        if self._lines.begun and not begun_before:
            self._answered = True
            self._limit_start()
        if self._lines.begun == "s":
            self._enter("running")
        if message.HasField("service_urls"):
            self._announce(message.service_urls)
        value = message.return_value
        if message.HasField("return_value") and value.definition:
            if value.was_it_raised:
                self._enter("running")
                self._failure = envelopes.failure_of(value)
            else:
                # What was printed may still follow it.
                self._outcome = envelopes.open_outcome(value.definition)
                self.host.deliveries.note(self.call)
                self._enter("running")
                if self._outcome is None:
                    self._failure = Cancelled()
        if message.status.state == messages.FAILED:
            self._failure = RunFailedInside("The service failed while it ran the call.")

    def _note(self, log: Log) -> None:
        if log.source == "BUILDER":
            self._enter("building")
            self._built.append(log.message)
            return
        self._answered = True
        if log.source == "USER":
            self._enter("running")

    def _limit_start(self) -> None:
        """
        End the call where what it begins with takes longer than it may.
        """
        seconds = self.call.host_options.startup_timeout
        if seconds is None:
            return

        def end() -> None:
            begun = self._url if self._is_service() else self._lines.begun == "s"
            if not begun:
                self._failure = StartupTimeout(seconds)
                self._stream.cancel()

        self._after(seconds, end)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        """
        Have *act*, which does not block, called in so many seconds, unless the run has
        ended by then.
        """
        self._timers.append(get_reader().after(seconds, act))

    def _announce(self, urls: Any) -> None:
        if self._url is not None:
            return
        self._enter("running")
        self._url = urls.run
        self._sink(State("ready"))
        self._sink(Ready(messages.read_urls(urls, has_page=self.call.gateway.serve)))

    def _enter(self, phase: Phase) -> None:
        if self._phase != phase and self._phase != "running":
            self._phase = phase
            self._sink(State(phase))

    # -- how it ends ---------------------------------------------------------------

    def _explain(self, error: grpc.RpcError) -> HostError:
        """
        Return why the run ended.
        """
        phase = "running" if self._answered else self._phase
        timeout = self.call.host_options.startup_timeout
        code = error.code() if hasattr(error, "code") else None
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and timeout and self._url is None:
            reason: HostError = StartupTimeout(timeout)
        else:
            reason = translate_run(error, self.host.address, phase)
        if isinstance(reason, EnvironmentBuildError):
            distributions.doubt()
            kind = self.call.environment.kind
            reason = with_facts(reason, kind=kind, lines=tuple(self._built))
        reason.__cause__ = error
        return reason

    def _await_end(self) -> None:
        """
        Wait until a service that is reached without a gateway is reached no more.
        """
        until = time.monotonic() + max(self._grace, _STOPPING)
        while self._url and probes.is_open(self._url) and time.monotonic() < until:
            time.sleep(0.02)

    def _is_service(self) -> bool:
        return requests.exposed_port(self.call.gateway) is not None

    def _drain(self) -> None:
        """
        Have the service stop the runner of this run, which finishes what it does.
        """
        self._sink(State("draining"))
        if not self._stop():
            # What cannot be drained is ended.
            self.cancel(0.0)

    def _interrupt(self) -> None:
        """
        Have the runner of this run interrupt it, and end what goes on after that.
        """
        until = time.monotonic() + self._grace
        if self._stop():
            self._over.wait(until - time.monotonic())
        self._stream.cancel()

    def _stop(self) -> bool:
        """
        Stop the runner of this run, and tell whether the service can.

        It can where it calls the runner what it calls the run; elsewhere there is no
        way to tell which of an application's runners it is.
        """
        import isolate_proto

        if not self._run_id:
            return False
        stop = isolate_proto.StopRunnerRequest(runner_id=self._run_id)
        metadata = self.host.caller.metadata()
        try:
            channels.stub(self.host.address).StopRunner(
                stop, metadata=metadata, timeout=_STOPPING
            )
        except grpc.RpcError:
            return False
        return True
