"""Supervisors: the processes that run detached calls."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import attrs

from fal_core.abilities import LimitedSink
from fal_core.calling import LateExecution, with_attempts, with_deadline
from fal_core.calls import Call
from fal_core.claims import Claim, ClaimedHost
from fal_core.detached.statuses import end_status, write_status
from fal_core.errors import HostError
from fal_core.events import Credit, Event, Exited, Log, Outcome, Reply, Sealed, Sink, State
from fal_core.hosts import Execution, Host
from fal_core.policies import Policy
from fal_core.sealing import decode_call
from fal_core.sinks import Journal, SinkAround, failed, skip_events
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import (
    HEADER,
    HEADER_SIZE,
    UnreadableFrame,
    check_size,
    unpack_buffers,
)

#: Seconds that a follower may take to read what it is sent.
_FOLLOWER_TIMEOUT = 10

#: The bytes of lines that a journal keeps: of a user's work, and of that of a program, which
#: keeps its lines itself.
_KEPT = 64 << 20
_KEPT_OF_PROGRAMS = 8 << 20

#: Seconds until followers are accepted again after that has failed.
_PAUSE = 1.0

#: The most characters of lines, and the most lines, that wait to be written.
_HELD, _MOST_HELD = 1 << 20, 1000

#: Bytes that are sent or received at once.
_PART = 1 << 20


class Supervisor(SinkAround):
    """
    Runs a detached call, writes its journal, and sends that to processes that attach.

    It is the sink of the call, and writes its status before it records an event.

    Arguments:
        directory: The record of the call.

        claim: The devices that the call is to have. None for those that its host claims.
    """

    def __init__(self, directory: Path, claim: Claim | None = None) -> None:
        super().__init__(self._record)
        self._claim = claim
        self._directory = directory
        self._status = json.loads((directory / "status.json").read_text())
        kept = _KEPT_OF_PROGRAMS if self._status.get("owner") else _KEPT
        self._journal = Journal(directory / "journal", kept)
        self._lock = threading.Lock()
        self._followers: list[socket.socket] = []
        # Lines come in bursts. Those that come while others are written are written together.
        self._lines: list[Log] = []
        self._size = 0
        self._has_lines = threading.Condition(self._lock)
        self._failure: OSError | None = None
        self._ended = threading.Event()

    def run(self, make_host: Callable[[], Host[..., Any]]) -> None:
        """Run the call, and return when it has ended."""
        server = self.listen()
        self._write_status(pid=os.getpid())
        envelope = (self._directory / "call").read_bytes()
        call = attrs.evolve(decode_call(envelope), lifetime="attached")
        host = make_host()
        execution = LateExecution(call.id)
        threading.Thread(target=self._accept, args=(server, execution), daemon=True).start()
        threading.Thread(target=self._write_lines, daemon=True).start()
        try:
            execution.settle(self._launch(host, call))
        except HostError as error:
            execution.settle(None)
            self(Exited(reason=error))
        self._ended.wait()
        (self._directory / "socket").unlink(missing_ok=True)
        host.close()

    def _launch(self, host: Host[..., Any], call: Call) -> Execution:
        largest = self._status.get("largest")

        def launch_limited(call: Call, sink: Sink) -> Execution:
            limited = sink if largest is None else LimitedSink(sink, largest)
            # Another attempt claims devices of its own.
            claim, self._claim = self._claim, None
            claimed = host.ability(ClaimedHost)
            if claim is None or claimed is None:
                return host.launch(call, limited)
            with claimed.on_claim(claim, call):
                return host.launch(call, limited)

        launch: Callable[[Call, Sink], Execution] = launch_limited
        seconds = call.host_options.request_timeout
        is_service = call.gateway.serve or call.gateway.exposed_port is not None
        if seconds is not None and not is_service:
            launch = with_deadline(launch, seconds, grace=Policy().grace, from_start=True)
        launch = with_attempts(launch, call.retries)
        if call.timeout is not None:
            launch = with_deadline(launch, call.timeout, grace=Policy().grace)
        return launch(call, self.for_host())

    def listen(self) -> socket.socket:
        """Return the socket that accepts followers: of those of this machine, by default."""
        server = socket.socket(socket.AF_UNIX)
        before = os.getcwd()
        os.chdir(self._directory)
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        server.listen(16)
        return server

    def greet(self, connection: socket.socket) -> bool:
        """
        Return whether *connection* is one of a follower. It is closed or used otherwise where
        it is not.

        It is called on a thread of its own.
        """
        return True

    # -- what the call does --------------------------------------------------------

    def on_log(self, log: Log) -> None:
        # A journal would grow with each step of a progress bar.
        if log.partial:
            return
        with self._has_lines:
            self._raise_failure()
            if not self._lines:
                self._has_lines.notify()
            self._lines.append(log)
            self._size += len(log.message)
            if self._size > _HELD or len(self._lines) >= _MOST_HELD:
                self._write(())

    def on_state(self, state: State) -> None:
        self._update_status(phase=state.name)
        self._record(state)

    def on_outcome(self, outcome: Outcome) -> None:
        self.outcome: Outcome | None = outcome
        self._record(outcome)

    def on_exited(self, exited: Exited) -> None:
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            # Lines that were printed last could not be written.
            exited = failed(failure)
        self._update_status(**end_status(self.outcome, exited))
        try:
            self._record(exited)
        finally:
            # Also if nothing can be written any more.
            self._ended.set()

    def _record(self, event: Event) -> None:
        with self._lock:
            self._raise_failure()
            self._write((event,))

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _write_lines(self) -> None:
        """Write lines for ever, as soon as there are any."""
        with self._has_lines:
            while True:
                self._has_lines.wait_for(lambda: bool(self._lines))
                try:
                    self._write(())
                except OSError as error:
                    # It is raised where the next event is recorded.
                    self._failure = error

    def _write(self, events: Sequence[Event]) -> None:
        """Write the lines that wait, and then *events*. Called under the lock."""
        lines, self._lines, self._size = self._lines, [], 0
        records = self._journal.append(*lines, *events)
        for follower in list(self._followers):
            self._pass_on(follower, records)

    def _pass_on(self, follower: socket.socket, records: bytes) -> None:
        try:
            follower.sendall(records)
        except OSError:
            # It was too slow, or is gone; the journal has everything.
            self._followers.remove(follower)
            follower.close()

    # -- processes that attach -----------------------------------------------------

    def _accept(self, server: socket.socket, execution: Execution) -> None:
        is_told = False
        while True:
            try:
                connection, _ = server.accept()
                is_told = False
            except OSError as error:
                # Such as too many open files: a process that attaches waits for one.
                if not is_told:
                    print(f"No follower can be accepted: {error}", file=sys.stderr, flush=True)
                    is_told = True
                time.sleep(_PAUSE)
                continue
            try:
                threading.Thread(
                    target=self._serve, args=(connection, execution), daemon=True
                ).start()
            except RuntimeError as error:
                # There are too many threads: it comes again.
                print(f"A follower cannot be served: {error}", file=sys.stderr, flush=True)
                connection.close()

    def _serve(self, connection: socket.socket, execution: Execution) -> None:
        try:
            if not self.greet(connection):
                return
            after = int.from_bytes(_receive_exactly(connection, 8), "little")
            connection.settimeout(_FOLLOWER_TIMEOUT)
            with ExitStack() as files:
                with self._lock:
                    journal = files.enter_context(self._open_journal())
                    edition = len(self._journal.replaced_at)
                connection.sendall(skip_events(journal, after))
                # Most of it is sent while the call goes on.
                _send_rest(connection, journal)
                with self._lock:
                    _send_rest(connection, journal)
                    if edition < len(self._journal.replaced_at):
                        # It has an older file, which ends where that was replaced.
                        journal = files.enter_context(self._open_journal())
                        sent = self._journal.replaced_at[edition]
                        connection.sendall(skip_events(journal, sent))
                        _send_rest(connection, journal)
                    self._followers.append(connection)
            connection.settimeout(None)
            while True:
                _handle_request(execution, connection)
        except (OSError, EOFError, UnreadableFrame):
            self._drop(connection)
        except Exception:
            # Such as a journal that no longer holds what was written.
            self._drop(connection)
            raise

    def _open_journal(self) -> IO[bytes]:
        return open(self._directory / "journal", "rb")

    def _drop(self, connection: socket.socket) -> None:
        with self._lock:
            if connection in self._followers:
                self._followers.remove(connection)
            connection.close()

    # -- its status ----------------------------------------------------------------

    def _write_status(self, **changes: Any) -> None:
        self._status |= changes
        write_status(self._directory, self._status)

    def _update_status(self, **changes: Any) -> None:
        """
        Write what has changed.

        If it cannot be written, because the disk is full or the directory was removed,
        the call goes on and ends nevertheless.
        """
        try:
            self._write_status(**changes)
        except OSError as error:
            print(f"The status was not written: {error}", file=sys.stderr, flush=True)


def _handle_request(execution: Execution, connection: socket.socket) -> None:
    """
    Receive one request for the call, and pass it on.

    Raises:
        OSError: The connection broke.

        EOFError: The connection was closed.

        UnreadableFrame: It is none.
    """
    header = _receive_exactly(connection, HEADER_SIZE)
    kind, _, buffers, _, a, b, length = HEADER.unpack(header)
    check_size(kind, length, sys.maxsize)
    payload: Any = _receive_exactly(connection, length)
    if buffers:
        payload = unpack_buffers(payload, buffers, None)
    if kind == frames.CANCEL:
        execution.cancel(a / 1000)
    elif kind == frames.DRAIN:
        execution.drain()
    elif kind == frames.CREDIT:
        execution.send(Credit(a))
    elif kind == frames.HOME_RESULT:
        sealed = Sealed(*payload) if isinstance(payload, tuple) else Sealed(payload)
        execution.send(Reply(a, sealed, bool(b)))
    else:
        raise UnreadableFrame(f"no follower sends frames of kind {kind}")


def _send_rest(connection: socket.socket, journal: IO[bytes]) -> None:
    while part := journal.read(_PART):
        connection.sendall(part)


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), _PART))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
