"""
Images that were built here and have lost their name to a newer build.

They have the same labels as images that others have built on them, so those that are ours are
noted, by their ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from fal_core.caches import cache_directory, remove_quietly, write_atomically
from fal_core.stores import list_directory
from fal_env_container.building.inspections import has_containers, inspect, own_size
from fal_env_container.engines import Engine


def note_replaced(identity: str, bases: Iterable[str]) -> None:
    """
    Keep that the image *identity*, which stands on those with the ids *bases*, was built here
    and has lost its name.
    """
    os.makedirs(_folder(), exist_ok=True)
    path = os.path.join(_folder(), identity)
    write_atomically(path, "\n".join(bases), durable=False)


def remove_replaced(engine: Engine, *, dry_run: bool = False) -> int:
    """
    Remove those that no container has, that nothing stands on and that nobody has named, and
    return their bytes.
    """
    freed = 0
    for identity in list_directory(_folder()):
        found = inspect(engine, [identity])
        is_needed = any(each.get("RepoTags") for each in found)
        if is_needed or (found and has_containers(engine, identity)):
            continue
        bases = inspect(engine, _bases_of(identity)) if found else []
        size = sum(own_size(each, bases) for each in found)
        if not dry_run:
            if found and engine.ask("rmi", identity, seconds=600.0).code != 0:
                continue
            remove_quietly(os.path.join(_folder(), identity))
        freed += size
    return freed


def _bases_of(identity: str) -> list[str]:
    try:
        with open(os.path.join(_folder(), identity), encoding="utf-8") as stream:
            return stream.read().split()
    except OSError:
        return []


def _folder() -> str:
    return os.path.join(cache_directory("containers"), "replaced")
