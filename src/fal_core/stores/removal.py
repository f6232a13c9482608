"""Removal: what a store of directories lists, and how entries and leftovers are removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence

from fal_core.caches import is_locked, remove_quietly, try_lock, unlock
from fal_core.stores.disks import disk_usage, list_directory
from fal_core.stores.entries import StoredEntry
from fal_core.stores.failures import FAILURE
from fal_core.stores.places import COMPLETE, GUARD, IN_USE, CacheDirectory
from fal_core.stores.processes import command_lines
from fal_core.stores.sizes import entry_usage


def list_entries(place: CacheDirectory) -> list[StoredEntry]:
    """Return the entries of *place* whose builds have finished, sorted by name."""
    commands = command_lines()
    found = (describe_entry(place, name, commands) for name in place.finished_names())
    return [entry for entry in found if entry is not None]


def describe_entry(
    place: CacheDirectory, name: str, commands: Sequence[bytes]
) -> StoredEntry | None:
    """Return the entry *name* of *place*; None if it is being removed."""
    path = place.path(name)
    try:
        created = os.stat(os.path.join(path, COMPLETE)).st_mtime
        last_used = os.stat(os.path.join(path, IN_USE)).st_mtime
    except OSError:
        return None
    in_use = place.is_in_use(name, commands)
    return StoredEntry(
        kind=place.kind,
        key=name,
        path=path,
        size=entry_usage(path, last_used=last_used, in_use=in_use),
        created=created,
        last_used=last_used,
        in_use=in_use,
        fault=place.find_fault(name),
        summary=place.read_summary(name),
        details=place.read_details(name),
    )


def remove_entry(
    place: CacheDirectory, key: str, name: str, *, forget: Callable[[str, str], None]
) -> bool:
    """
    Remove the entry *name*, which is built for *key*, unless it is in use or being built.

    Return whether it is gone.

    Arguments:
        forget: Called with *key* and *name* before the lock is released.
    """
    path = place.lock_path(key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = try_lock(path, shared=False, create=True)
    if lock is None:
        return False
    try:
        if not remove_directory(place.root, place.path(name)):
            return False
        forget(key, name)
        # A process that waits for the lock sees that its file is gone, and makes a new one.
        remove_quietly(path)
        return True
    finally:
        unlock(lock)


def remove_directory(root: str, path: str) -> bool:
    """
    Remove the directory *path* of the store at *root*, unless a process has taken it.

    Return whether it is gone.
    """
    try:
        lock = try_lock(os.path.join(path, IN_USE), shared=False)
    except FileNotFoundError:
        discard(root, path)  # It was never finished, so nothing can use it.
        return True
    if lock is None:
        return False
    try:
        discard(root, path)
    finally:
        unlock(lock)
    return True


def remove_leftovers(place: CacheDirectory, strays: Iterable[str], *, dry_run: bool) -> int:
    """Remove what nobody continues or uses any more, and return how many bytes it had."""
    freed = 0
    for path in list(find_leftovers(place, strays)):
        size = disk_usage(path)
        if dry_run or remove_directory(place.root, path):
            freed += size
    for name in list_directory(place.root):
        if is_guarded(place.path(name)):
            size = disk_usage(place.path(name))
            freed += size if remove_unfinished(place, name, dry_run=dry_run) else 0
    if not dry_run:
        remove_failures(os.path.join(place.root, "locks"))
    return freed


def remove_failures(folder: str) -> None:
    """Remove the errors of builds that lie beside the locks in *folder*, where nobody builds."""
    for name in list_directory(folder):
        path = os.path.join(folder, name)
        lock, found, _ = path.partition(FAILURE)
        if found and not is_locked(lock):
            remove_quietly(path)


def find_leftovers(place: CacheDirectory, strays: Iterable[str]) -> Iterator[str]:
    """Yield unfinished builds that nobody continues, strays, and trash."""
    root = place.root
    for name in list_directory(os.path.join(root, "building")):
        if not is_locked(place.lock_path(name.partition(".")[0])):
            yield os.path.join(root, "building", name)
    commands = command_lines()
    for name in strays:
        if not place.is_in_use(name, commands):
            yield place.path(name)
    for name in list_directory(os.path.join(root, "trash")):
        yield os.path.join(root, "trash", name)


def remove_unfinished(place: CacheDirectory, name: str, *, dry_run: bool) -> bool:
    """
    Remove the entry *name* that a killed build left in its place; return whether it is gone.

    A builder that begins meanwhile waits for the lock, and what it makes is whole or its own.
    """
    path = place.lock_path(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = try_lock(path, shared=False, create=True)
    if lock is None:
        return False
    try:
        found = is_guarded(place.path(name))
        if found and not dry_run:
            discard(place.root, place.path(name))
        return found
    finally:
        unlock(lock)


def is_guarded(path: str) -> bool:
    """Tell whether the directory *path* is an entry that was not finished in its place."""
    names = (GUARD, COMPLETE)
    return [os.path.exists(os.path.join(path, name)) for name in names] == [True, False]


def discard(root: str, path: str) -> None:
    """Remove the directory *path* of the store at *root*, by way of its trash."""
    trash = os.path.join(root, "trash")
    moved = os.path.join(trash, os.urandom(8).hex())
    try:
        os.makedirs(trash, exist_ok=True)
        os.rename(path, moved)
    except FileNotFoundError:
        return
    shutil.rmtree(moved, ignore_errors=True)


def sweep(place: CacheDirectory, key: str) -> None:
    """
    Remove what killed builds of *key* left behind, and the trash.

    The caller holds the lock of *key*, so none of its builds is running.
    """
    root = place.root
    if is_guarded(place.path(key)):
        discard(root, place.path(key))
    for folder in ("trash", "building"):
        for name in os.listdir(os.path.join(root, folder)):
            if folder == "trash" or name.startswith(f"{key}."):
                shutil.rmtree(os.path.join(root, folder, name), ignore_errors=True)
