"""
Marks inside an environment: that its build has finished, and that a process uses it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fal_core.caches import is_descriptor_of, is_locked, try_lock, unlock, write_durably
from fal_core.environments import LocalInterpreter
from fal_env_virtualenv.store.build_records import BuildRecord, read_record
from fal_env_virtualenv.store.layout import record_path

#: A file that is written last: the digest of the environment.
COMPLETE = ".fal-core-complete"
#: A file on which each process that uses the environment holds a shared lock.
IN_USE = ".fal-core-in-use"

# The locks of the environments that this process uses, by path.
_in_use: dict[str, int] = {}
os.register_at_fork(after_in_child=_in_use.clear)

#: The keys that this process has built because of the option ``force``.
forced: set[str] = set()


def mark_complete(path: str, digest: str) -> None:
    """
    Mark the environment at *path* as whole, and as one that can be used.
    """
    with open(os.path.join(path, IN_USE), "w"):
        pass
    write_durably(os.path.join(path, COMPLETE), digest)


def find_fault(record: BuildRecord) -> str | None:
    """
    Say what is wrong with the environment of *record*; None if nothing is.

    This is a quick look for what a killed build or a cleaned disk leaves behind; it
    starts no process.
    """
    path = record.path
    try:
        with open(os.path.join(path, COMPLETE), encoding="utf-8") as stream:
            if stream.read().strip() != record.digest:
                return "its marker names another environment"
    except FileNotFoundError:
        return (
            "its directory is gone" if not os.path.isdir(path) else "its build never finished"
        )
    except (OSError, ValueError) as error:
        return f"its marker cannot be read ({error})"
    if not os.access(record.executable, os.X_OK):
        return f"its interpreter {record.python.executable} is gone"
    try:
        present = set(os.listdir(os.path.join(path, record.python.library)))
    except OSError:
        return "its packages are gone"
    missing = [name for name in record.packages if name not in present]
    return f"{missing[0]} is gone" if missing else None


def take(record: BuildRecord) -> bool:
    """
    Mark the environment of *record* as used by this process until the process ends.

    Return whether the environment is there and a quick look finds no fault.
    """
    path = record.path
    lock = os.path.join(path, IN_USE)
    known = _in_use.get(path)
    if known is None or not is_descriptor_of(known, lock):
        try:
            descriptor = try_lock(lock, shared=True)
        except OSError:
            return False
        if descriptor is None:
            return False  # It is being removed.
        other = _in_use.get(path)
        _in_use[path] = descriptor
        if other is not None:
            unlock(other)
    return find_fault(record) is None


def release(path: str) -> None:
    """
    Undo what :func:`take` did in this process for the environment at *path*.
    """
    descriptor = _in_use.pop(path, None)
    if descriptor is not None:
        unlock(descriptor)


def release_all() -> None:
    """
    Undo all that :func:`take` did in this process.
    """
    for path in list(_in_use):
        release(path)


def find_built(key: str, *, force: bool) -> LocalInterpreter | None:
    """
    Return the interpreter of the environment of *key*, and mark it as used.

    None if it must be built: it is not there or has a fault, or *force* is set and this
    process has not built it yet.
    """
    if force and key not in forced:
        return None
    record = read_record(key)
    if record is None or not take(record):
        return None
    try:
        os.utime(record_path(key))
    except OSError:
        pass  # The cache may be read-only; only the order of removal suffers.
    return LocalInterpreter(record.executable, record.python.minor_version)


def is_in_use(path: str, command_lines: Sequence[bytes]) -> bool:
    """
    Tell whether a process has taken the environment at *path*, or runs its Python.

    A process that outlives the one that launched it has taken nothing, but runs.

    Arguments:
        command_lines: Those of all processes of this machine.
    """
    programs = os.fsencode(os.path.join(path, "bin", ""))
    if any(command.startswith(programs) for command in command_lines):
        return True
    try:
        return is_locked(os.path.join(path, IN_USE))
    except OSError:
        return True  # It cannot be locked, so nothing says that it is free.
