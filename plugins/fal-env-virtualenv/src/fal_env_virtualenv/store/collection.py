"""
Garbage collection: removing unused environments, damaged ones, and leftovers of builds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import attrs

from fal_core.caches import is_locked, remove_quietly, try_lock, unlock
from fal_env_virtualenv.store.environments import (
    COMPLETE,
    IN_USE,
    is_in_use,
    read_record,
    read_records,
)
from fal_env_virtualenv.store.layout import (
    disk_usage,
    list_directory,
    lock_path,
    record_path,
    store_root,
)
from fal_env_virtualenv.store.listing import StoredEnvironment, list_environments
from fal_uv.running import uv_cache
from fal_uv.running.running_processes import command_lines


@attrs.frozen(kw_only=True)
class Removal:
    """
    What a collection removed.

    Attributes:
        entries: The environments, the least recently used first.

        freed: Bytes, leftovers included.

        kept: Bytes that remain.
    """

    entries: tuple[StoredEnvironment, ...]
    freed: int
    kept: int


def collect(max_size: int | None, *, dry_run: bool = False) -> Removal:
    """
    Remove the least recently used environments until at most *max_size* bytes remain.

    Environments that are in use or being built stay. Damaged environments and leftovers
    of killed builds are removed in any case; if *max_size* is None, nothing else is.
    """
    listed = list_environments()
    freed = _collect_leftovers(dry_run=dry_run)
    total = sum(environment.size for environment in listed)
    removed = []
    for environment in reversed(listed):
        if (max_size is None or total <= max_size) and environment.fault is None:
            continue
        if environment.in_use or not (dry_run or _remove(environment)):
            continue
        total -= environment.size
        removed.append(environment)
    freed += sum(environment.size for environment in removed)
    return Removal(entries=tuple(removed), freed=freed, kept=total)


def _remove(environment: StoredEnvironment) -> bool:
    """
    Remove *environment* and its build record, unless it is in use; tell whether it is gone.
    """
    path = lock_path(environment.key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = try_lock(path, shared=False, create=True)
    if lock is None:
        return False
    try:
        if not _remove_directory(environment.path):
            return False
        record = read_record(environment.key)
        if record is not None and record.digest == environment.digest:
            remove_quietly(record_path(environment.key))
        # A process that waits for the lock sees that its file is gone, and makes a new one.
        remove_quietly(path)
        return True
    finally:
        unlock(lock)


def _remove_directory(path: str) -> bool:
    """
    Remove the directory *path*, unless it is in use; tell whether it is gone.
    """
    try:
        lock = try_lock(os.path.join(path, IN_USE), shared=False)
    except FileNotFoundError:
        discard(path)  # It was never finished, so nothing can use it.
        return True
    if lock is None:
        return False
    try:
        discard(path)
    finally:
        unlock(lock)
    return True


def _collect_leftovers(*, dry_run: bool) -> int:
    """
    Remove leftovers, here and in uv's cache, and return how many bytes they had.
    """
    freed = 0
    for path in list(_leftovers(store_root())):
        size = disk_usage(path)
        if dry_run or _remove_directory(path):
            freed += size
    for path in uv_cache.old_builds():
        freed += disk_usage(path)
        if not dry_run:
            uv_cache.remove(path)
    return freed


def _leftovers(root: str) -> Iterator[str]:
    """
    Yield unfinished builds that nobody continues, environments without record, and trash.
    """
    for name in list_directory(os.path.join(root, "building")):
        if not is_locked(lock_path(name.partition(".")[0])):
            yield os.path.join(root, "building", name)
    # A record is written before its environment gets its place: read in this order, an
    # environment that has just been finished is not taken for a leftover.
    names = list_directory(root)
    known = {record.digest for record in read_records()}
    commands = command_lines()
    for name in names:
        path = os.path.join(root, name)
        complete = os.path.exists(os.path.join(path, COMPLETE))
        if complete and name not in known and not is_in_use(path, commands):
            yield path
    for name in list_directory(os.path.join(root, "trash")):
        yield os.path.join(root, "trash", name)


def discard(path: str) -> None:
    """
    Remove the directory *path*: move it to the trash first, and then delete it.
    """
    trash = os.path.join(store_root(), "trash")
    moved = os.path.join(trash, os.urandom(8).hex())
    try:
        os.makedirs(trash, exist_ok=True)
        os.rename(path, moved)
    except FileNotFoundError:
        return
    shutil.rmtree(moved, ignore_errors=True)


def sweep(key: str) -> None:
    """
    Remove what killed builds of *key* left behind, and the trash.

    The caller holds the lock of *key*, so none of its builds is running.
    """
    root = store_root()
    for place in ("trash", "building"):
        for name in os.listdir(os.path.join(root, place)):
            if place == "trash" or name.startswith(f"{key}."):
                shutil.rmtree(os.path.join(root, place, name), ignore_errors=True)
