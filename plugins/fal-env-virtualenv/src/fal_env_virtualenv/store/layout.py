"""
Where everything is kept: the directory ``virtualenvs`` below the cache root.

It contains::

    keys/<key>.json     the build record of a key: what was resolved for a recipe
    <digest>/           an environment, named by the digest of its build record
    locks/<key>.lock    locked by the process that builds for the key
    building/           environments that are being built
    trash/              environments that are being removed
    links/              symbolic links to environments that uv works on, and their locks
    pythons.json        interpreters that were found by earlier searches
    uv.json             the index that uv uses if nothing names one

A build record outlives its environment, which is built again from its pins when lost.
"""

from __future__ import annotations

import os

from fal_core.caches import cache_root


def store_root() -> str:
    """
    Return the directory of everything that this plugin keeps.
    """
    return os.path.join(cache_root(), "virtualenvs")


def make_directories() -> None:
    """
    Create the directories that a build needs.
    """
    for name in ("keys", "locks", "building", "trash"):
        os.makedirs(os.path.join(store_root(), name), exist_ok=True)


def record_path(key: str) -> str:
    """
    Return the path of the build record of *key*.
    """
    return os.path.join(store_root(), "keys", f"{key}.json")


def lock_path(key: str) -> str:
    """
    Return the path of the lock file that the builder of *key* holds.
    """
    return os.path.join(store_root(), "locks", f"{key}.lock")


def list_directory(path: str) -> list[str]:
    """
    Return the names in the directory *path*; none if it does not exist.
    """
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def disk_usage(path: str) -> int:
    """
    Return how many bytes the files below *path* take on the disk.
    """
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                pass  # It is being removed.
    return total
