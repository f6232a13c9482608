"""
The environments that are kept: listed, checked, rebuilt and removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from threading import Event

import attrs

from fal_core.errors import OptionError
from fal_core.events import LogSink
from fal_env_virtualenv import builder, files, leftovers, records
from fal_env_virtualenv.records import Record
from fal_env_virtualenv.workplaces import discard


@attrs.frozen(kw_only=True)
class Entry:
    """
    One environment that is kept, or was.

    Attributes:
        size: Bytes on the disk; a file that uv's cache has too counts in full.

        last_used: Seconds since the epoch, as are all times.

        in_use: Whether a process uses it now.

        fault: What is wrong with it at a glance; None if nothing.
    """

    key: str
    digest: str
    path: str
    requirements: tuple[tuple[str, ...], ...]
    python_version: str
    size: int
    created: float
    last_used: float
    in_use: bool
    fault: str | None


@attrs.frozen(kw_only=True)
class Removal:
    """
    What a collection removed.

    Attributes:
        entries: The environments, oldest first.

        freed: Bytes, leftovers included.

        kept: Bytes that remain.
    """

    entries: tuple[Entry, ...]
    freed: int
    kept: int


def _recorded() -> list[Record]:
    directory = os.path.join(records.store_root(), "keys")
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    keys = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return [record for key in keys if (record := records.read_record(key)) is not None]


def entries() -> list[Entry]:
    """
    List the environments that are kept, the last used first.
    """
    commands = _command_lines()
    listed = [_entry(record, commands) for record in _recorded()]
    return sorted(listed, key=lambda entry: entry.last_used, reverse=True)


def _entry(record: Record, commands: Sequence[str]) -> Entry:
    try:
        last_used = os.stat(records.record_path(record.key)).st_mtime
    except FileNotFoundError:
        last_used = record.created
    return Entry(
        key=record.key,
        digest=record.digest,
        path=record.path,
        requirements=record.requirements,
        python_version=record.python.version,
        size=_size(record.path),
        created=record.created,
        last_used=last_used,
        in_use=_is_used(record.path, commands),
        fault=records.fault(record),
    )


def find_entry(key: str) -> Entry:
    """
    Return the environment whose key, or digest, begins with *key*.

    Raises:
        OptionError: There is none, or more than one.
    """
    return _entry(_find_record(key), _command_lines())


def _find_record(key: str) -> Record:
    found = [
        record
        for record in _recorded()
        if key and (record.key.startswith(key) or record.digest.startswith(key))
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(record.key[:12] for record in found or _recorded()) or "none"
    if found:
        raise OptionError(f"More than one environment begins with {key!r}: {known}.")
    raise OptionError(f"No environment has a key that begins with {key!r}. There are: {known}.")


# -- Removing -------------------------------------------------------------------


def collect(max_size: int | None, *, dry_run: bool = False) -> Removal:
    """
    Remove environments, the longest unused first, until *max_size* bytes remain.

    None that is in use is removed, nor one that is being built. Damaged ones and what
    killed builds left go too; where *max_size* is None, that alone.
    """
    listed = entries()
    freed = _collect_leftovers(dry_run=dry_run)
    total = sum(entry.size for entry in listed)
    removed = []
    for entry in reversed(listed):
        if (max_size is None or total <= max_size) and entry.fault is None:
            continue
        if entry.in_use or not (dry_run or _remove(entry)):
            continue
        total -= entry.size
        removed.append(entry)
    freed += sum(entry.size for entry in removed)
    return Removal(entries=tuple(removed), freed=freed, kept=total)


def _remove(entry: Entry) -> bool:
    """
    Remove the environment *entry* and its record; tell whether it was free.
    """
    path = records.lock_path(entry.key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = files.open_lock(path, shared=False, create=True)
    if lock is None:
        return False
    try:
        if not _remove_directory(entry.path):
            return False
        record = records.read_record(entry.key)
        if record is not None and record.digest == entry.digest:
            files.remove_quietly(records.record_path(entry.key))
        # Whoever waits for the lock sees that its file is gone, and makes one.
        files.remove_quietly(path)
        return True
    finally:
        files.close_lock(lock)


def _remove_directory(path: str) -> bool:
    try:
        descriptor = files.open_lock(os.path.join(path, records.IN_USE), shared=False)
    except FileNotFoundError:
        discard(path)  # Nobody can have begun to use it.
        return True
    if descriptor is None:
        return False
    try:
        discard(path)
    finally:
        files.close_lock(descriptor)
    return True


def _collect_leftovers(*, dry_run: bool) -> int:
    """
    Remove what belongs to no record, and what ended builds have left in uv's cache.

    It returns how many bytes that had.
    """
    freed = 0
    for path in list(_leftovers(records.store_root())):
        size = _size(path)
        if dry_run or _remove_directory(path):
            freed += size
    for path in leftovers.old_places():
        freed += _size(path)
        if not dry_run:
            leftovers.remove(path)
    return freed


def _leftovers(root: str) -> Iterator[str]:
    for name in _names(os.path.join(root, "building")):
        if not _is_locked(records.lock_path(name.partition(".")[0])):
            yield os.path.join(root, "building", name)
    # A record is written before its directory is there: read in this order, none
    # that was finished just now is taken for a leftover.
    names = _names(root)
    known = {record.digest for record in _recorded()}
    commands = _command_lines()
    for name in names:
        path = os.path.join(root, name)
        marked = os.path.exists(os.path.join(path, records.MARKER))
        if marked and name not in known and not _is_used(path, commands):
            yield path
    for name in _names(os.path.join(root, "trash")):
        yield os.path.join(root, "trash", name)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


# -- Use ------------------------------------------------------------------------


def _is_locked(path: str) -> bool:
    """
    Tell whether anyone holds the lock file *path*.
    """
    try:
        descriptor = files.open_lock(path, shared=False)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    files.close_lock(descriptor)
    return False


def _is_used(path: str, commands: Sequence[str]) -> bool:
    """
    Tell whether a process holds the environment at *path*, or runs its Python.

    What outlives the process that launched it holds nothing, but runs.
    """
    programs = os.path.join(path, "bin", "")
    if any(command.startswith(programs) for command in commands):
        return True
    try:
        return _is_locked(os.path.join(path, records.IN_USE))
    except OSError:
        return True  # It cannot be locked, so it cannot be said to be free.


def _command_lines() -> list[str]:
    """
    Return the command lines of the processes of this machine, where it tells.
    """
    commands = []
    for number in _names("/proc"):
        if number.isdigit():
            try:
                with open(f"/proc/{number}/cmdline", "rb") as stream:
                    commands.append(stream.read().decode(errors="replace"))
            except OSError:
                pass  # It has ended, or is not ours to see.
    return commands


def _size(path: str) -> int:
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                pass  # It is being removed.
    return total


# -- Checking and rebuilding ------------------------------------------------------


def verify(entry: Entry) -> list[str]:
    """
    Return what is wrong with the environment *entry*, as sentences; empty if nothing.

    It looks for every installed file, starts the interpreter, and asks uv
    whether the packages fit each other.
    """
    record = _find_record(entry.key)
    fault = records.fault(record)
    if fault is not None:
        return [f"The environment is damaged: {fault}."]
    problems = [f"The file {name} is gone." for name in _missing_files(record)]
    from fal_env_virtualenv.tools import ask, uv_command

    code, output = ask([record.executable, "-c", "import sys; print(sys.prefix)"])
    if code != 0 or os.path.realpath(output.strip()) != os.path.realpath(record.path):
        problems.append("Its interpreter does not start in it.")
        return problems
    code, output = ask(
        [*uv_command(), "pip", "check", "--python", record.executable], errors=True
    )
    if code != 0:
        told = [line.strip() for line in output.splitlines() if " requires " in line]
        problems += told or [f"uv pip check ended with code {code}."]
    return problems


def _missing_files(record: Record) -> Iterator[str]:
    """
    Yield the files that packages list and that are not there, ten at most.
    """
    library = os.path.join(record.path, record.python.library)
    missing = 0
    for package in record.packages:
        try:
            with open(os.path.join(library, package, "RECORD"), encoding="utf-8") as stream:
                names = [line.rsplit(",", 2)[0].strip('"') for line in stream]
        except FileNotFoundError:
            names = [os.path.join(package, "RECORD")]
        for name in names:
            if not name.endswith(".pyc") and not os.path.exists(os.path.join(library, name)):
                missing += 1
                if missing <= 10:
                    yield name


def rebuild(key: str, log: LogSink, cancelled: Event) -> Entry:
    """
    Build the environment of *key* once more, as it was first resolved.

    Raises:
        OptionError: There is none of that key, or it is in use.

        EnvironmentBuildError: It cannot be built.
    """
    record = _find_record(key)
    if _is_used(record.path, _command_lines()):
        raise OptionError(
            f"The environment {record.key[:12]} is in use. End what runs in it first."
        )
    builder.rebuild(record, log, cancelled)
    return find_entry(record.key)
