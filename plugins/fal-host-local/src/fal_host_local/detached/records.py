"""
Records of detached work: where they are, and what they say of it.

The record of a call is a directory with its envelope, a journal of its events, its status,
and the socket of its supervisor: the process that runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fal_core.abilities import ExecutionStatus
from fal_core.caches import ForeignCache, cache_directory
from fal_core.calls import Call
from fal_core.detached import LOST, describe, read_status
from fal_core.errors import HostError
from fal_core_worker import trees

#: Seconds for which the record of work that has ended is kept.
KEPT = 24 * 3600.0

#: Prefix of the name of a directory that is not complete yet, or no longer.
_INCOMPLETE = ".begun-"

#: The file whose age says when records were removed, seconds until that is done again, and
#: how many are removed at once: the others go when work is launched again.
_REMOVED, _PERIOD, _AT_ONCE = ".removed", 3600.0, 100

#: The longest address of a socket, in bytes; on macOS it is shorter than on Linux.
_LONGEST = 103

#: Seconds that a supervisor may take to open its socket.
PATIENCE = 20.0

#: How connecting to a supervisor fails that is not there. Other errors say nothing of it.
NO_SUPERVISOR = (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)


class NoSuchExecution(HostError):
    """No detached work has that reference."""

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
    Return the directory with the records of all detached work of this user.

    Raises:
        HostError: It belongs to another user.
    """
    try:
        return Path(cache_directory("executions"))
    except ForeignCache as error:
        raise HostError(str(error)) from None


def create_record(call: Call, largest: int | None = None) -> Path:
    """
    Write the record of *call*, which is about to be launched, and return its directory.

    Arguments:
        largest: The largest event that its launcher takes, in bytes. None for any.

    Raises:
        HostError: It cannot be written.
    """
    from fal_core.sealing import encode_call

    root = executions_root()
    directory = root / call.id
    # Renamed when it is complete: what a process that is killed leaves here is no record.
    incomplete = root / f"{_INCOMPLETE}{call.id}"
    try:
        cache_directory("executions", make=True)
        incomplete.mkdir(mode=0o700)
        status: dict[str, Any] = {
            "name": call.name,
            "owner": call.owner,
            "started": time.time(),
            "since": trees.now(),
        }
        if largest is not None:
            status["largest"] = largest
        (incomplete / "status.json").write_text(json.dumps(status))
        (incomplete / "journal").touch()
        (incomplete / "call").write_bytes(encode_call(call))
        incomplete.rename(directory)
    except OSError as error:
        raise HostError(
            f"Detached work cannot be recorded in {root}: {error.strerror}."
        ) from error
    return directory


def find_record(reference: str) -> Path:
    """
    Return the directory of the record that *reference* names.

    Raises:
        NoSuchExecution: There is none.
    """
    directory = executions_root() / reference
    is_name = "/" not in reference and not reference.startswith(_INCOMPLETE)
    if not is_name or not (directory / "journal").exists():
        raise NoSuchExecution(reference)
    return directory


def list_executions() -> Iterator[ExecutionStatus]:
    """Iterate over detached work, the oldest first."""
    found = []
    for path in executions_root().glob("*/status.json"):
        if path.parent.name.startswith(_INCOMPLETE):
            continue
        status = read_status(path.parent)
        if status is None:
            continue
        ended = "ended" in status or not is_supervised(path.parent)
        if ended and "ended" not in status:
            # Its supervisor may have written how it ended since, and exited.
            status = read_status(path.parent) or status
        end, error = status.get("end"), status.get("error", "")
        if ended and "ended" not in status:
            end, error = "failed", describe(LOST)
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
                owner=status.get("owner", ""),
            )
        )
    return iter(sorted(found, key=lambda status: status.started))


def remove_old_records() -> None:
    """
    Remove some records of work that ended long ago, once in a while.

    Several processes may do so at once.
    """
    root = executions_root()
    try:
        if 0 <= time.time() - _last_removal(root) < _PERIOD:
            return
        (root / _REMOVED).touch(mode=0o600)
        removed = 0
        with os.scandir(root) as entries:
            for entry in entries:
                if removed == _AT_ONCE:
                    # There may be more of them.
                    os.utime(root / _REMOVED, (0, 0))
                    return
                removed += _is_old(entry) and _remove(root / entry.name)
    except OSError:
        # There are no records yet, or it is tried again.
        pass


def _last_removal(root: Path) -> float:
    try:
        return (root / _REMOVED).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_old(entry: os.DirEntry[str]) -> bool:
    """Return whether nothing was written to a record for long."""
    before = time.time() - KEPT
    try:
        # The directory changes with the status, and the journal with each event.
        return (
            entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_mtime < before
            and _changed(os.path.join(entry.path, "journal")) < before
        )
    except OSError:
        return False


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(directory: Path) -> bool:
    """Remove a record unless its work goes on, and return whether it was removed."""
    if is_supervised(directory):
        return False
    if not directory.name.startswith(_INCOMPLETE):
        # What a process that is killed leaves of it is no record.
        try:
            directory = directory.rename(directory.with_name(_INCOMPLETE + directory.name))
        except OSError:
            # Another process has done so.
            return False
    shutil.rmtree(directory, ignore_errors=True)
    return True


def is_supervised(directory: Path) -> bool:
    """Return whether a supervisor is running, or is being started."""
    # Read first: a supervisor that starts after this counts as being started.
    status = read_status(directory)
    try:
        with connect(directory):
            return True
    except NO_SUPERVISOR:
        pass
    except OSError:
        # Such as too many open files in this process.
        return True
    if status is None:
        return False
    # The clock starts with the machine: a later time is from before it was restarted.
    elapsed = trees.now() - status.get("since", 0.0)
    return "pid" not in status and 0 <= elapsed < PATIENCE


def connect(directory: Path) -> socket.socket:
    """
    Connect to the supervisor of the work whose record is in *directory*.

    Raises:
        OSError: It has none. BlockingIOError: too many wait for it already.
    """
    path = os.fspath(directory / "socket")
    if len(os.fsencode(path)) <= _LONGEST:
        return _connect(path)
    folder = os.open(directory, os.O_RDONLY)
    try:
        return _connect(f"/proc/self/fd/{folder}/socket")
    finally:
        os.close(folder)


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        # Otherwise it would wait for one that accepts nobody.
        connection.setblocking(False)
        connection.connect(address)
        connection.setblocking(True)
    except OSError:
        connection.close()
        raise
    return connection
