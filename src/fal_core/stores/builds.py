"""Builds: an entry is built by one process, in a directory that is removed unless it finishes."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

import attrs

from fal_core.caches import remove_quietly, try_lock, unlock, write_durably
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log, LogSink
from fal_core.reprs import show_fields
from fal_core.stores.disks import describe_disk_error
from fal_core.stores.failures import Failures
from fal_core.stores.places import COMPLETE, GUARD, IN_USE, CacheDirectory
from fal_core.stores.removal import discard, sweep

#: Seconds between two tries to take a lock that another process holds.
_PATIENCE = 0.02
#: Seconds that a process which ends gives its builds to remove their directories.
_LAST_PATIENCE = 5.0

#: Set when this process ends, so that child processes of its builds end before it.
exiting: Event = Event()

# The directories that this process has not removed yet. A forked child has none.
_open: set[str] = set()
_removed = threading.Condition()


def _remove(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    with _removed:
        _open.discard(directory)
        _removed.notify_all()


def _end_builds() -> None:
    """End the builds of this process, and wait until their directories are removed."""
    exiting.set()
    with _removed:
        _removed.wait_for(lambda: not _open, _LAST_PATIENCE)


def _forget_builds() -> None:
    global _removed
    _removed = threading.Condition()
    _open.clear()


atexit.register(_end_builds)
os.register_at_fork(after_in_child=_forget_builds)


@contextmanager
def locked(
    path: str,
    cancelled: Event,
    on_wait: Callable[[], None],
    *,
    least: int = 0,
    terms: object = None,
) -> Iterator[int]:
    """
    Hold an exclusive lock on the file *path*, which is created if it does not exist, and
    return its descriptor, which a child process may inherit.

    If a build that held it raises ``EnvironmentBuildError``, those who waited meanwhile raise
    the same, each unless its *terms* or its environment variables are others.

    Arguments:
        on_wait: Called once if another process holds the lock.

        least: The smallest number that the descriptor may have.

        terms: What a build depends on beside what *path* is named after, such as credentials:
            a value whose ``repr`` is whole. It is not written down.

    Raises:
        EnvironmentBuildError: The build that was waited for failed.

        Cancelled: *cancelled* was set while another process held the lock.
    """
    failures = Failures(path, terms)
    waited = False
    while (descriptor := try_lock(path, shared=False, create=True, least=least)) is None:
        if not waited:
            waited = True
            on_wait()
        if cancelled.wait(_PATIENCE):
            raise Cancelled("The call was cancelled while it waited for another build.")
        failures.raise_new()
    try:
        if waited:
            failures.raise_new()
        with failures_kept(failures):
            yield descriptor
    finally:
        unlock(descriptor)


@contextmanager
def failures_kept(failures: Failures) -> Iterator[None]:
    """Keep the error of the build that runs in this context, or forget that of an earlier one."""
    try:
        yield
    except EnvironmentBuildError as error:
        failures.keep(error)
        raise
    failures.forget()


@contextmanager
def building(
    place: CacheDirectory, key: str, *, log: LogSink, cancelled: Event, terms: object = None
) -> Iterator[None]:
    """Hold the lock of *key* in *place*, see :meth:`DirectoryStore.building`."""

    def on_wait() -> None:
        line = "Waiting for another build of this environment"
        log(Log(line, "INFO", "BUILDER", time.time()))

    try:
        place.make_directories()
        with locked(place.lock_path(key), cancelled, on_wait, terms=terms):
            sweep(place, key)
            yield
    except OSError as error:
        raise EnvironmentBuildError(place.kind, describe_disk_error(error)) from error


def build_entry(
    place: CacheDirectory,
    key: str,
    build: Callable[[Build], None],
    *,
    log: LogSink,
    cancelled: Event,
    in_place: bool,
    summary: str,
    terms: object,
) -> str:
    """Build the entry of *key*, see :meth:`DirectoryStore.find_or_build`."""
    with building(place, key, log=log, cancelled=cancelled, terms=terms):
        found = place.find(key)
        if found is None:
            with Build(place=place, key=key, cancelled=cancelled, in_place=in_place) as opened:
                opened.summary = summary
                build(opened)
                opened.finish()
            found = place.find(key)
    if found is None:
        raise EnvironmentBuildError(
            place.kind,
            "It was removed as soon as it was built. Another program cleans the cache.",
        )
    return found


@attrs.define(kw_only=True)
class Build:
    """
    One build of an entry, a context: leaving it removes what was not finished.

    Attributes:
        cancelled: Set once nobody waits for the entry any more.

        in_place: Whether *directory* is where the entry stays.

        workspace: A directory for files that only the build needs.

        directory: The directory to fill, which becomes the entry. It exists, and is empty.

        summary: What is in it, in a few words, for lists.

        details: What else is to be known of it, as JSON has it.
    """

    __repr__ = show_fields

    place: CacheDirectory
    key: str
    cancelled: Event
    in_place: bool = False
    workspace: str = attrs.field(init=False)
    directory: str = attrs.field(init=False)
    summary: str = attrs.field(init=False, default="")
    details: dict[str, Any] = attrs.field(init=False, factory=dict)
    _finished: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        name = f"{self.key}.{os.urandom(4).hex()}"
        self.workspace = os.path.join(self.place.root, "building", name)
        self.directory = os.path.join(self.workspace, "environment")
        if self.in_place:
            self.directory = self.place.path(self.key)

    def __enter__(self) -> Build:
        os.mkdir(self.workspace)
        with _removed:
            _open.add(self.workspace)
        try:
            self._make_directory()
        except BaseException:
            _remove(self.workspace)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.in_place and not self._finished:
            # While the lock is held: the next builder makes it anew in the same place.
            with suppress(FileNotFoundError):  # Somebody has emptied the cache.
                os.rename(self.directory, os.path.join(self.workspace, "environment"))
        if isinstance(error, Cancelled):
            # The caller who cancelled does not wait until many files are removed.
            threading.Thread(target=_remove, args=(self.workspace,), daemon=True).start()
        else:
            _remove(self.workspace)

    def finish(self, *, name: str | None = None) -> str:
        """
        Mark the directory as whole, and give it its place; return its path.

        Arguments:
            name: The name of the entry; by default the key. What is built in place has no
                other.

        Raises:
            Cancelled: The build was cancelled.
        """
        if self.cancelled.is_set():
            raise Cancelled("The call was cancelled while its environment was being built.")
        name = name or self.key
        path = self.place.path(name)
        mark_complete(self.directory, name, self.summary, self.details)
        if self.in_place:
            remove_quietly(os.path.join(path, GUARD))
        else:
            self.place.release(name)
            discard(self.place.root, self.place.path(name))
            os.rename(self.directory, path)
        self._finished = True
        return path

    def _make_directory(self) -> None:
        if not self.in_place:
            os.mkdir(self.directory)
            return
        # It has its guard from the first moment on.
        guarded = os.path.join(self.workspace, "environment")
        os.mkdir(guarded)
        write_durably(os.path.join(guarded, GUARD), self.key)
        self.place.release(self.key)
        discard(self.place.root, self.place.path(self.key))
        os.rename(guarded, self.directory)


def mark_complete(path: str, name: str, summary: str, details: Mapping[str, Any]) -> None:
    """Mark the entry *name* at *path* as whole, and as one that can be used."""
    with open(os.path.join(path, IN_USE), "w"):
        pass
    lines = (name, " ".join(summary.split()), json.dumps(details))
    write_durably(os.path.join(path, COMPLETE), "\n".join(lines))
