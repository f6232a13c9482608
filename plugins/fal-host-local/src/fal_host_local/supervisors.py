"""
The supervisor of one detached call.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fal_core.calls import Call
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import Event, Exited, Log, Outcome, State
from fal_core.hosts import Execution
from fal_core.policies import Policy
from fal_core.sealing.envelopes import decode_call
from fal_core.sinks.journals import Journal
from fal_core.sinks.outcomes import is_retried
from fal_core.sinks.time_limits import TimeLimit
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import HEADER, HEADER_SIZE, Frame, unpack_buffers
from fal_host_local.hosts import LocalHost


class Supervisor:
    """
    Runs a call, writes its journal, and answers whoever attaches.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._status = json.loads((directory / "status.json").read_text())
        self._journal = Journal(directory / "journal")
        self._lock = threading.Lock()
        self._followers: list[socket.socket] = []
        self._ended = threading.Event()
        # Set at the end of each attempt.
        self._over = threading.Event()
        self._left = 0
        self._seen = False
        self._execution: Execution | None = None
        self._outcome: Outcome | None = None
        self._launched = threading.Event()

    def run(self) -> None:
        """
        Run until the call has ended.
        """
        server = self._listen()
        self._write_status(pid=os.getpid())
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        host = LocalHost()
        call = _attached(decode_call((self._directory / "call").read_bytes()))
        until = None if call.timeout is None else time.monotonic() + call.timeout
        self._left = call.retries
        while not self._ended.is_set():
            self._over.clear()
            try:
                self._launch(host, call, until)
            except HostError as error:
                self._take(Exited(reason=error))
            self._launched.set()
            self._over.wait()
        (self._directory / "socket").unlink(missing_ok=True)
        host.close()

    def _launch(self, host: LocalHost, call: Call, until: float | None) -> None:
        if until is None:
            self._execution = host.launch(call, self._take)
            return
        seconds = until - time.monotonic()
        sink = TimeLimit(self._take, seconds, grace=Policy().grace, limit=call.timeout)
        self._execution = host.launch(call, sink)
        sink.follow(self._execution)

    def _listen(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        before = os.getcwd()
        os.chdir(self._directory)
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        server.listen(16)
        return server

    def _take(self, event: Event) -> None:
        if isinstance(event, Log) and event.partial:
            # A journal would grow with each step of a progress bar.
            return
        if isinstance(event, Exited):
            if self._left and not self._seen and is_retried(Policy(), event.reason):
                self._left -= 1
                self._over.set()
                return
            self._update_status(ended=True, **_how(self._outcome, event))
        elif isinstance(event, State):
            self._update_status(phase=event.name)
        elif not isinstance(event, Log):
            # What was seen of it is not taken back: it is not begun again after that.
            self._seen = True
            if isinstance(event, Outcome):
                self._outcome = event
        try:
            with self._lock:
                record = self._journal.append(event)
                for follower in list(self._followers):
                    self._pass_on(follower, record)
        finally:
            # Also where nothing can be written any more.
            if isinstance(event, Exited):
                self._ended.set()
                self._over.set()

    def _pass_on(self, follower: socket.socket, record: bytes) -> None:
        try:
            follower.sendall(record)
        except OSError:
            # It was too slow, or is gone; the journal has everything.
            self._followers.remove(follower)
            follower.close()

    def _accept(self, server: socket.socket) -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            after = int.from_bytes(_exactly(connection, 8), "little")
            with self._lock:
                connection.settimeout(10)
                connection.sendall(self._records(after))
                self._followers.append(connection)
            connection.settimeout(None)
            while True:
                self._obey(*self._read_frame(connection))
        except (OSError, EOFError):
            return

    def _records(self, after: int) -> bytes:
        """
        Return the records of the journal from number *after* on.
        """
        data = (self._directory / "journal").read_bytes()
        at = 0
        for _ in range(after):
            if at >= len(data):
                break
            at += 4 + int.from_bytes(data[at : at + 4], "little")
        return data[at:]

    def _read_frame(self, connection: socket.socket) -> tuple[int, int, int, Any]:
        header = _exactly(connection, HEADER_SIZE)
        kind, _, buffers, _, a, b, length = HEADER.unpack(header)
        payload: Any = _exactly(connection, length)
        if buffers:
            payload = unpack_buffers(payload, buffers, None)
        return kind, a, b, payload

    def _obey(self, kind: int, a: int, b: int, payload: Any) -> None:
        self._launched.wait()
        if self._execution is None:
            return
        if kind == frames.CANCEL:
            self._execution.cancel(a / 1000)
        elif kind == frames.DRAIN:
            self._execution.drain()
        else:
            self._execution.send(Frame(kind, 0, a, b, payload))

    def _write_status(self, **changes: Any) -> None:
        self._status |= changes
        new = self._directory / "status.json.new"
        new.write_text(json.dumps(self._status))
        new.rename(self._directory / "status.json")

    def _update_status(self, **changes: Any) -> None:
        """
        Write what has changed. Where the disk is full, or the directory was removed
        meanwhile, the work itself goes on, and ends.
        """
        try:
            self._write_status(**changes)
        except OSError as error:
            print(f"The status was not written: {error}", file=sys.stderr, flush=True)


def _how(outcome: Outcome | None, exited: Exited) -> dict[str, str]:
    """
    Return how a call has ended, as the record of it has that.
    """
    if isinstance(exited.reason, Cancelled):
        return {"end": "cancelled"}
    if outcome is not None:
        return {"end": "raised" if outcome.raised else "returned"}
    error = exited.reason or WorkerLost(exited.code, exited.signal)
    return {"end": "failed", "error": f"{type(error).__name__}: {error}"}


def _attached(call: Any) -> Any:
    import attrs

    return attrs.evolve(call, lifetime="attached")


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def supervise(directory: str) -> None:
    """
    Run the detached call whose directory is *directory*.
    """
    Supervisor(Path(directory)).run()
