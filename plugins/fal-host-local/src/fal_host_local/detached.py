"""
Detached work: calls that outlive the process that launched them.

Each has a directory with its envelope, a journal of its events, and the socket
of a supervisor, a process that runs it as any other call. Whoever attaches is
given the journal from where it wants, and then what happens.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fal_core.caches import cache_root
from fal_core.calls import Call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Exited, Sink
from fal_core.facts import with_facts
from fal_core.hosts import ExecutionStatus
from fal_core.sinks.journals import Records, read_journal
from fal_core_worker.running import trees
from fal_core_worker.stream.frames import Frame, pack_buffers, pack_frame

#: Seconds for which the record of work that has ended is kept.
KEPT = 24 * 3600.0

#: How the name begins of a directory that is not whole yet.
_BEGUN = ".begun-"

#: Seconds that a supervisor may take to open its socket.
_PATIENCE = 20.0

#: Why work has ended that has no supervisor any more.
LOST = WorkerLost(detail="Its supervisor was ended before it was.")

_SOURCE = """\
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
_SUPERVISE = """\
import sys
sys.path[:] = {path!r}
from fal_host_local.supervisors import supervise
supervise(sys.argv[1])
"""


class NoSuchExecution(HostError):
    """
    There is no detached work of that reference.
    """

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return (
            f"Host 'local' has no detached work called {self.reference!r}. "
            "Run 'fal-core executions list' to see what there is."
        )


def executions_root() -> Path:
    """
    Return the directory of all detached work of this user.
    """
    return Path(cache_root()) / "executions"


def launch_detached(call: Call, sink: Sink) -> DetachedExecution:
    """
    Start *call* under a supervisor of its own, and report it to *sink*.
    """
    from fal_core.sealing.envelopes import encode_call

    root = executions_root()
    forget_old()
    directory = root / call.id
    # Nobody takes for launched, or waits for, what a process that was killed has begun.
    begun = root / f"{_BEGUN}{call.id}"
    try:
        begun.mkdir(parents=True, mode=0o700)
        status = {"name": call.name, "started": time.time(), "since": trees.now()}
        (begun / "status.json").write_text(json.dumps(status))
        (begun / "journal").touch()
        (begun / "call").write_bytes(encode_call(call))
        begun.rename(directory)
    except OSError as error:
        raise HostError(
            f"Detached work cannot be recorded in {root}: {error.strerror}."
        ) from error
    source = _SUPERVISE.format(path=[entry or os.getcwd() for entry in sys.path])
    argv = [sys.executable, "-I", "-S", "-c", _SOURCE, source, str(directory)]
    # Nothing of the caller's stays open in what outlives it.
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(directory / "errors", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        targets = ((null, 0), (null, 1), (errors, 2))
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for descriptor, number in targets]
        pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
        os.waitpid(pid, 0)
    finally:
        os.close(null)
        os.close(errors)
    return DetachedExecution(call.id, directory, sink)


def attach(reference: str, sink: Sink, after: int) -> DetachedExecution:
    """
    Report detached work to *sink*, from its event number *after* on.

    Raises:
        NoSuchExecution: There is no work of that reference.
    """
    directory = executions_root() / reference
    if "/" in reference or not (directory / "journal").exists():
        raise NoSuchExecution(reference)
    return DetachedExecution(reference, directory, sink, after)


def list_executions() -> Iterator[ExecutionStatus]:
    """
    Iterate over detached work, the oldest first.
    """
    found = []
    for path in executions_root().glob("*/status.json"):
        if path.parent.name.startswith(_BEGUN):
            continue
        status = _read_status(path)
        if status is None:
            continue
        ended = "ended" in status or not is_supervised(path.parent)
        if ended and "ended" not in status:
            # Its supervisor may have written how it ended since, and gone.
            status = _read_status(path) or status
        end, error = status.get("end"), status.get("error", "")
        if ended and "ended" not in status:
            end, error = "failed", _describe(LOST)
        found.append(
            ExecutionStatus(
                reference=path.parent.name,
                name=status["name"],
                phase=status.get("phase", "queued"),
                started=status["started"],
                ended=ended,
                # Records of older versions do not say how.
                end=end,
                error=error,
            )
        )
    return iter(sorted(found, key=lambda status: status.started))


def _read_status(path: Path) -> dict[str, Any] | None:
    """
    Return what the file *path* tells of detached work. None where it cannot be read.
    """
    try:
        status: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return status


def _describe(error: HostError) -> str:
    return f"{type(error).__name__}: {error}"


def forget_old() -> None:
    """
    Remove the records of work that has ended long ago.
    """
    for path in executions_root().glob("*/journal"):
        try:
            old = time.time() - path.stat().st_mtime > KEPT
        except OSError:
            continue
        if old and not is_supervised(path.parent):
            shutil.rmtree(path.parent, ignore_errors=True)


def is_supervised(directory: Path) -> bool:
    """
    Tell whether a supervisor is at work, or is about to be.
    """
    # It comes first: a supervisor that starts after this look is about to be.
    status = _read_status(directory / "status.json")
    try:
        with connect(directory):
            return True
    except OSError:
        pass
    if status is None:
        return False
    # A time of before the machine was started is none of now.
    elapsed = trees.now() - status.get("since", 0.0)
    return "pid" not in status and 0 <= elapsed < _PATIENCE


def connect(directory: Path) -> socket.socket:
    """
    Connect to the supervisor of the work in *directory*.

    Raises:
        OSError: There is none.
    """
    connection = socket.socket(socket.AF_UNIX)
    # A path under /proc is short, which the address of a socket has to be.
    folder = os.open(directory, os.O_RDONLY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/socket")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


class DetachedExecution:
    """
    Detached work, as one process sees it.
    """

    def __init__(self, reference: str, directory: Path, sink: Sink, after: int = 0) -> None:
        self._reference = reference
        self._directory = directory
        self._sink = sink
        self._after = after
        self._connection: socket.socket | None = None
        self._connected = threading.Event()
        threading.Thread(target=self._follow, name="fal-core detached", daemon=True).start()

    @property
    def reference(self) -> str:
        return self._reference

    def send(self, frame: Frame) -> None:
        payload = frame.payload
        if isinstance(payload, tuple):
            data, buffers = payload
            payload = b"".join(map(bytes, pack_buffers(data, buffers, None)))
        self._tell(pack_frame(frame.kind, 0, frame.a, frame.b, payload))

    def drain(self) -> None:
        from fal_core_worker.stream import frames

        self._tell(pack_frame(frames.DRAIN))

    def cancel(self, grace: float) -> None:
        from fal_core_worker.stream import frames

        self._tell(pack_frame(frames.CANCEL, a=int(grace * 1000)))

    def _tell(self, message: bytes) -> None:
        if not self._connected.wait(_PATIENCE) or self._connection is None:
            return
        try:
            self._connection.sendall(message)
        except OSError:
            pass

    def _follow(self) -> None:
        ended = self._follow_supervisor() or self._replay()
        if not ended:
            self._sink(Exited(reason=with_facts(LOST)))

    def _follow_supervisor(self) -> bool:
        connection = self._wait_for_supervisor()
        if connection is not None:
            # It comes first: what others send follows it. A supervisor that has ended
            # since it was found is read to be gone.
            with suppress(OSError):
                connection.sendall(self._after.to_bytes(8, "little"))
        self._connection = connection
        self._connected.set()
        if connection is None:
            return False
        records = Records()
        with connection:
            while chunk := _receive(connection):
                for event in records.feed(chunk):
                    self._after += 1
                    self._sink(event)
                    if isinstance(event, Exited):
                        return True
        return False

    def _wait_for_supervisor(self) -> socket.socket | None:
        while True:
            try:
                return connect(self._directory)
            except OSError:
                if not is_supervised(self._directory):
                    return None
                time.sleep(0.02)

    def _replay(self) -> bool:
        event: Any = None
        try:
            for event in read_journal(self._directory / "journal", self._after):
                self._sink(event)
        except OSError:
            return False
        return isinstance(event, Exited)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""
