"""Executions on the service: one ``Run`` for each call, followed on a thread."""

from __future__ import annotations

import functools
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fal_core.calls import Call
from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    FalCoreError,
    HostError,
    StartupTimeout,
)
from fal_core.events import Exited, Level, Log, Message, Outcome, Phase, Ready, Sink, State
from fal_core.facts import with_facts
from fal_core.sinks import Timer, get_event_thread
from fal_core_worker.stream.frames import LEVELS, RECORD
from fal_host_serverless.errors import InternalServerlessRunFailed, ServerlessRunFailed
from fal_host_serverless.far_end.marked_output import MARK
from fal_host_serverless.running import followers, pickled_calls
from fal_host_serverless.running.lean_calls import LeanCalls
from fal_host_serverless.running.run_requests import run_request
from fal_host_serverless.running.turns import Turns
from fal_host_serverless.uploading import distributions, inputs
from fal_host_serverless.wire import channels, messages, requests, streams
from fal_host_serverless.wire.failures import cause_of, translate_run
from fal_host_serverless.wire.protocol import grpc
from fal_host_serverless.wire.requests import UploadedInputs
from fal_host_serverless.wire.services import Service

#: Seconds that the service may take to end a run that has its result.
_ENDING = 10.0
#: Seconds that the service may take to stop a runner.
_STOPPING = 5.0
#: The metadata key by which servers of fal-core announce themselves. They send all lines
#: of a run before its result, with their true levels.
_ORDERLY = "fal-core-server"
#: The number of the builder's lines that an error shows.
_LINES = 10
#: Hosts of services that are reached without a gateway.
_LOCAL = ("127.0.0.1", "localhost", "::1")


class ServerlessExecution:
    """
    A call that the service runs.

    Arguments:
        find_service: Returns the service. It is called on the following thread, and what
            it raises ends the execution.

        turns: The turns of the host's calls.

        lean_calls: Decides whether the call is sent without archives.
    """

    def __init__(
        self,
        find_service: Callable[[], Service],
        call: Call,
        sink: Sink,
        *,
        turns: Turns,
        lean_calls: LeanCalls,
    ) -> None:
        self.call = call
        self._find_service = find_service
        self._sink = sink
        self._turns = turns
        self._lean_calls = lean_calls
        self._lock = threading.Lock()
        self._stream: Any = None
        self._cancelled = False
        self._grace = 0.0
        self._phase: Phase = "queued"
        self._answered = False
        self._outcome: Outcome | None = None
        self._finished = False
        self._failure: HostError | None = None
        self._url: str | None = None
        self._run_id = ""
        self._timers: list[Timer] = []
        self._over = threading.Event()
        self._built: deque[str] = deque(maxlen=_LINES)
        self._lines = CallLines(call)

    # -- the execution -----------------------------------------------------------

    @property
    def reference(self) -> str:
        return self.call.id

    def send(self, message: Message) -> None:
        """Do nothing: nothing is streamed that could be held back, and no call comes home."""

    def drain(self) -> None:
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def cancel(self, grace: float) -> None:
        # A LateExecution would not do: this cancel has stages, and its end waits for the grace.
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
        """Follow the run on another thread."""
        followers.follow(self._follow)

    # -- the thread ----------------------------------------------------------------

    @functools.cached_property
    def _service(self) -> Service:
        return self._find_service()

    def _follow(self) -> None:
        reason: HostError | None = None
        self._sink(State("queued"))
        try:
            self._run()
        except grpc.RpcError as error:
            if self._outcome is None and self._failure is None:
                reason = self._explain(error)
        except FalCoreError as error:
            reason = error if isinstance(error, HostError) else ServerlessRunFailed(str(error))
        except Exception as error:
            reason = ServerlessRunFailed(f"The call could not be sent: {error}")
            reason.__cause__ = error
        if self._outcome is not None:
            self._finish()
            return
        if self._cancelled:
            reason = Cancelled()
            self._await_end()
        missing = InternalServerlessRunFailed("The run ended without a result.")
        self._sink(Exited(reason=reason or self._failure or missing))

    def _run(self) -> None:
        with self._turns.taken(self.call, self._may_wait):
            if not self._cancelled:
                self._send()

    def _may_wait(self) -> bool:
        return not self._cancelled

    def _send(self) -> None:
        lean = self._lean_calls.may_be_lean(self.call)
        try:
            uploaded = inputs.upload(self._service, self.call, self._sink)
            try:
                self._send_once(uploaded, lean=lean)
            except pickled_calls.ArchiveMissing:
                # Nothing of the call has run.
                self._lean_calls.note_missing(self.call)
                self._send_once(uploaded, lean=False)
        finally:
            self._over.set()
            for timer in self._timers:
                get_event_thread().forget(timer)

    def _send_once(self, uploaded: UploadedInputs, *, lean: bool) -> None:
        service = self._service
        request = run_request(service, self.call, uploaded, lean=lean)
        metadata = streams.announced_metadata(service)
        if self.call.traceparent is not None:
            metadata.append(("traceparent", self.call.traceparent))
        with self._lock:
            if self._cancelled:
                return
            self._stream = channels.stub(service.address).Run(request, metadata=metadata)
        with streams.streaming(self._stream) as stream:
            for message in stream:
                if self._finished:
                    # The stream is read to its end, so that the service ends the run.
                    continue
                ending = self._outcome is not None
                self._take(message)
                if self._outcome is not None and not ending:
                    if message.status.state == messages.SUCCEEDED and self._is_orderly():
                        self._finish()
                    self._after(_ENDING, self._stream.cancel)

    def _is_orderly(self) -> bool:
        """
        Return whether the service is known to send all lines before the result, with
        their true levels.
        """
        return any(name == _ORDERLY for name, _ in self._stream.initial_metadata() or ())

    def _finish(self) -> None:
        """Give the outcome to the sink, once."""
        if not self._finished and self._outcome is not None:
            self._finished = True
            self._sink(self._outcome)
            self._sink(Exited())

    def _take(self, message: Any) -> None:
        self._run_id = message.run_id or self._run_id
        self._lines.guessed = not self._is_orderly()
        begun_before = self._lines.begun
        for log in messages.read_logs(message.logs, self._lines.read):
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
                self._failure = pickled_calls.failure_of(value)
            else:
                # Lines may still follow the result.
                self._outcome = pickled_calls.open_outcome(value.definition)
                self._lean_calls.note_delivered(self.call)
                self._enter("running")
                if self._outcome is None:
                    self._failure = Cancelled()
        if message.status.state == messages.FAILED:
            self._failure = InternalServerlessRunFailed(
                "The service failed while it ran the call."
            )

    def _note(self, log: Log) -> None:
        if log.source == "BUILDER":
            self._enter("building")
            self._built.append(log.message)
            return
        self._answered = True
        # The setup prints, too, and is part of the start.
        if log.source == "USER" and (self.call.setup is None or self._lines.begun == "s"):
            self._enter("running")

    def _limit_start(self) -> None:
        """End the call if opening the function takes longer than ``startup_timeout``."""
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
        """Call *act*, which must not block, after so many seconds unless the run has ended."""
        self._timers.append(get_event_thread().after(seconds, act))

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
        """Return the reason of a run that ended with a gRPC error."""
        phase = "running" if self._answered else self._phase
        timeout = self.call.host_options.startup_timeout
        code = error.code() if hasattr(error, "code") else None
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and timeout and self._url is None:
            reason: HostError = StartupTimeout(timeout)
        else:
            reason = translate_run(error, self._service.address, phase)
        if isinstance(reason, EnvironmentBuildError):
            distributions.distrust_urls()
            kind = self.call.environment.kind
            reason = with_facts(reason, kind=kind)
            # What the error says itself, the service has printed too.
            said = {str(reason), *map(str.strip, str(reason).splitlines())}
            unsaid = tuple(line for line in self._built if line.strip() not in said)
            reason = with_facts(reason, lines=tuple(self._built), unsaid=unsaid)
        reason.__cause__ = cause_of(error)
        return reason

    def _await_end(self) -> None:
        """Wait until a service that is reached without a gateway has stopped listening."""
        until = time.monotonic() + max(self._grace, _STOPPING)
        while self._url and _is_open(self._url) and time.monotonic() < until:
            time.sleep(0.02)

    def _is_service(self) -> bool:
        return requests.exposed_port(self.call.gateway) is not None

    def _drain(self) -> None:
        """Stop the runner of this run, which finishes its requests first."""
        self._sink(State("draining"))
        if not self._stop():
            # A run that cannot be drained is ended.
            self.cancel(0.0)

    def _interrupt(self) -> None:
        """Stop the runner of this run, and cancel the run after the grace."""
        until = time.monotonic() + self._grace
        if self._stop():
            self._over.wait(until - time.monotonic())
        self._stream.cancel()

    def _stop(self) -> bool:
        """
        Stop the runner of this run, and return whether that was possible.

        It is where the service gives the runner the id of the run. Elsewhere nothing
        tells which of an application's runners it is.
        """
        from fal_host_serverless.wire.protocol import isolate_proto

        if not self._run_id:
            return False
        stop = isolate_proto.StopRunnerRequest(runner_id=self._run_id)
        metadata = self._service.credentials.metadata()
        try:
            channels.stub(self._service.address).StopRunner(
                stop, metadata=metadata, timeout=_STOPPING
            )
        except grpc.RpcError:
            return False
        return True


def _is_open(url: str) -> bool:
    """
    Return whether something on this machine listens at *url*.

    It is False for other machines: a gateway listens, even if nothing runs behind it.
    """
    parts = urlsplit(url)
    if parts.hostname not in _LOCAL or parts.port is None:
        return False
    try:
        with socket.create_connection((parts.hostname, parts.port), 0.5):
            return True
    except OSError:
        return False


#: The numbers of the levels, of lines and of records, as they stand in a mark.
_NUMBERS = frozenset(str(kind + each) for kind in (0, RECORD) for each in range(len(LEVELS)))
#: Characters of incomplete lines, all of them together; what is more is cut.
_LONGEST = 1 << 24
#: How many lines may be incomplete at once.
_MOST = 1000


class CallLines:
    """
    Reads the lines of a call.

    Attributes:
        begun: The last report of the far end: ``o`` while it opens the function, ``s``
            once it has started it. Empty before both.

        guessed: Whether the service guesses the levels of lines that carry none.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: dict[str, list[str]] = {}
        self._held = 0
        self.begun: str = ""
        self.guessed = True

    def read(self, line: str, level: Level, time: float) -> Log | None:
        """Return the line as it was printed. None for a report, and for a part of a line."""
        text, mark, rest = line.rpartition(MARK)
        number, _, rest = rest.partition(":")
        flags, separator, owner = rest.partition(":")
        part = text if "e" not in flags else _decode(text)
        if not (mark and separator and number in _NUMBERS) or part is None:
            # A service that guesses levels takes INFO for a line that it cannot guess. A
            # function may print marks of its own, too.
            level = "STDOUT" if level == "INFO" and self.guessed else level
            return Log(line, level, "USER", time, self._call.id)
        if flags in ("o", "s") and not text:
            self.begun = flags
            return None
        if "e" in flags:
            parts = self._parts.pop(owner, [])
            parts.append(part)
            self._held += len(part)
            if "+" in flags and self._held < _LONGEST and len(self._parts) < _MOST:
                self._parts[owner] = parts
                return None
            text = "".join(parts)
            self._held -= len(text)
        kind, _, identity = owner.partition(" ")
        known: Level = LEVELS[int(number) % RECORD]  # type: ignore[assignment]  # Each is one.
        request = identity if kind == "request" else None
        logger = None
        if int(number) >= RECORD:
            logger, _, text = text.partition("\n")
        return Log(text, known, "USER", time, self._call.id, request, logger=logger)


def _decode(text: str) -> str | None:
    """Return the text that stands there in JSON. None if there is none."""
    try:
        found = json.loads(text)
    except (RecursionError, ValueError):
        return None
    return found if isinstance(found, str) else None
