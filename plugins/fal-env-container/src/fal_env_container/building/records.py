"""What is kept about built images between processes: which they are, and where builds wait."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from threading import Event

import attrs

from fal_core.caches import (
    ForeignCache,
    cache_directory,
    is_locked,
    remove_quietly,
    write_atomically,
)
from fal_core.errors import HostError
from fal_core.stores import disk_usage, list_directory, locked, remove_failures
from fal_env_container.building.guards import remove
from fal_env_container.images.built_images import REPOSITORY

#: Labels: on an image its key, on a layer that a build has made the name of the build.
KEY_LABEL = "fal-core.key"
LAYER_LABEL = "fal-core.build"


def image_name(key: str) -> str:
    """Return the name of the built image of *key*."""
    return f"{REPOSITORY}:{key}"


@attrs.frozen(kw_only=True)
class ImageRecord:
    """
    What is kept about an image that was built.

    Attributes:
        key: Its key.

        bases: The ids of the images that it was built on, by their names.

        last_used: When it was used last, in seconds since the epoch.
    """

    key: str
    bases: Mapping[str, str]
    last_used: float = 0.0


def mark_of(tenant: str) -> str:
    """Return what stands for *tenant* in its builds. No other tenant can make it up."""
    path = os.path.join(_root(make=True), "tenants.key")
    for _ in range(2):
        try:
            with open(path, "rb") as stream:
                return blake2b(tenant.encode(), key=stream.read(32), digest_size=16).hexdigest()
        except FileNotFoundError:
            # Of two that are written at once, one is read.
            write_atomically(path, os.urandom(32), mode=0o600, durable=False)
    raise FileNotFoundError(path)


def read_record(digest: str) -> ImageRecord | None:
    """Return what is kept about the image of the recipe *digest*; None if it was not built."""
    return _read(_record(digest))


def write_record(digest: str, record: ImageRecord) -> None:
    """Keep *record* for the recipe *digest*."""
    os.makedirs(os.path.dirname(_record(digest)), exist_ok=True)
    content = json.dumps({"key": record.key, "bases": dict(record.bases)})
    write_atomically(_record(digest), content, durable=False)


def mark_used(digest: str) -> None:
    """Keep that the image of the recipe *digest* is used now."""
    try:
        os.utime(_record(digest))
    except OSError:
        pass  # The cache may be read-only; only the order of removal suffers.


def read_records() -> dict[str, ImageRecord]:
    """Return what is kept about all images, by their keys."""
    records = (_read(path) for path in _record_paths())
    return {each.key: each for each in records if each is not None}


def remove_records(key: str) -> None:
    """Remove what is kept about the image of *key*."""
    for path in _record_paths():
        record = _read(path)
        if record is not None and record.key == key:
            remove_quietly(path)


def remove_leftovers(*, dry_run: bool) -> int:
    """
    Remove the directories of builds that nobody continues, and return their bytes.

    The errors of builds that nobody waits for go with them.
    """
    places = os.path.join(_root(), "building")
    if not dry_run:
        remove_failures(places)
    freed = 0
    for name in list_directory(places):
        lock = os.path.join(places, f"{name.rpartition('.')[0]}.lock")
        path = os.path.join(places, name)
        if not os.path.isdir(path) or (os.path.exists(lock) and is_locked(lock)):
            continue
        freed += disk_usage(path)
        if not dry_run:
            remove(path)
    return freed


@attrs.frozen
class BuildPlace:
    """
    Where one build keeps its files.

    Attributes:
        folder: Its directory, which only this user can read.

        lock: The descriptor of the lock that other builds of the image wait for.
    """

    folder: str
    lock: int

    @property
    def label(self) -> str:
        """The label of the layers that this build makes, which no other has."""
        return f"{LAYER_LABEL}={os.path.basename(self.folder).rpartition('.')[2]}"


@contextmanager
def building(
    digest: str, cancelled: Event, on_wait: Callable[[], None], *, terms: object = None
) -> Iterator[BuildPlace]:
    """
    Hold the lock of the recipe *digest*, and return a new place for its build.

    What builds of it have left behind that were killed is removed.

    Arguments:
        terms: What the build depends on beside the recipe, such as logins, see
            :func:`fal_core.stores.locked`.

    Raises:
        EnvironmentBuildError: The build that was waited for failed.

        Cancelled: *cancelled* was set while another process held the lock.
    """
    places = os.path.join(_root(make=True), "building")
    os.makedirs(places, mode=0o700, exist_ok=True)
    lock = os.path.join(places, f"{digest}.lock")
    # Shells, which may stand between this process and the engine, use smaller descriptors.
    with locked(lock, cancelled, on_wait, least=10, terms=terms) as descriptor:
        for name in os.listdir(places):
            path = os.path.join(places, name)
            if name.startswith(f"{digest}.") and os.path.isdir(path):
                remove(path)
        folder = os.path.join(places, f"{digest}.{os.urandom(4).hex()}")
        os.mkdir(folder, 0o700)
        try:
            yield BuildPlace(folder, descriptor)
        finally:
            remove(folder)


def _root(*, make: bool = False) -> str:
    """
    Return the directory of the cache that has all this.

    Raises:
        HostError: It belongs to another user.
    """
    try:
        return cache_directory("containers", make=make)
    except ForeignCache as error:
        raise HostError(str(error)) from None


def _read(path: str) -> ImageRecord | None:
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
            used = os.fstat(stream.fileno()).st_mtime
        return ImageRecord(key=content["key"], bases=dict(content["bases"]), last_used=used)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _record_paths() -> list[str]:
    folder = os.path.dirname(_record(""))
    return [os.path.join(folder, name) for name in list_directory(folder)]


def _record(digest: str) -> str:
    return os.path.join(_root(), "images", f"{digest}.json")
