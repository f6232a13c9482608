"""
What is kept about built images between processes: which they are, and where builds wait.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event

import attrs

from fal_core.caches import cache_directory, try_lock, unlock, write_atomically
from fal_core.errors import Cancelled
from fal_env_container.building.guards import remove

#: Seconds between two tries to take the lock of an image that another process builds.
_PATIENCE = 0.05

#: The name of all images that are built here; their tags are their keys.
REPOSITORY = "localhost/fal-core"

#: Labels: on an image its key, on a layer that a build has made the name of the build.
KEY_LABEL = "fal-core.key"
LAYER_LABEL = "fal-core.build"


def image_name(key: str) -> str:
    """
    Return the name of the built image of *key*.
    """
    return f"{REPOSITORY}:{key}"


def read_bases(digest: str) -> dict[str, str] | None:
    """
    Return the ids of the images that the image of the recipe *digest* was built on; None if
    it was not.
    """
    try:
        with open(_record(digest), encoding="utf-8") as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_bases(digest: str, bases: Mapping[str, str]) -> None:
    """
    Keep *bases* for the recipe *digest*.
    """
    os.makedirs(os.path.dirname(_record(digest)), exist_ok=True)
    write_atomically(_record(digest), json.dumps(dict(bases)), durable=False)


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


@contextmanager
def building(
    digest: str, cancelled: Event, on_wait: Callable[[], None]
) -> Iterator[BuildPlace]:
    """
    Hold the lock of the recipe *digest*, and return a new place for its build.

    What builds of it have left behind that were killed is removed.

    Raises:
        Cancelled: *cancelled* was set while another process held the lock.
    """
    places = os.path.join(cache_directory("containers", make=True), "building")
    os.makedirs(places, mode=0o700, exist_ok=True)
    lock = os.path.join(places, f"{digest}.lock")
    waited = False
    while (descriptor := _lock(lock)) is None:
        if not waited:
            waited = True
            on_wait()
        if cancelled.wait(_PATIENCE):
            raise Cancelled("The call was cancelled while it waited for another build.")
    try:
        for name in os.listdir(places):
            if name.startswith(f"{digest}.") and name != os.path.basename(lock):
                remove(os.path.join(places, name))
        folder = os.path.join(places, f"{digest}.{os.urandom(4).hex()}")
        os.mkdir(folder, 0o700)
        try:
            yield BuildPlace(folder, descriptor)
        finally:
            remove(folder)
    finally:
        unlock(descriptor)


def _lock(path: str) -> int | None:
    # Shells, which may stand between this process and the engine, use smaller ones.
    return try_lock(path, shared=False, create=True, least=10)


def _record(digest: str) -> str:
    return os.path.join(cache_directory("containers"), "images", f"{digest}.json")
