"""
What is kept of environments, and where.

Below the cache root, in ``virtualenvs``::

    keys/<key>.json     the record: what was resolved for a declaration
    <digest>/           the environment, named by the digest of its record
    locks/<key>.lock    held by whoever builds for the key
    building/           environments that are not finished
    trash/              environments that are being removed
    seats/              links to those that uv builds now, and their locks
    pythons.json        the interpreters that searches have found
    uv.json             the index that uv asks where nothing names one

A record outlives its directory: what is lost is built again from its pins.
"""

from __future__ import annotations

import json
import os
from typing import Any

import attrs

from fal_core.caches import cache_root
from fal_core.digests import digest
from fal_core.environments import LocalInterpreter
from fal_core.reprs import show_fields
from fal_env_virtualenv import files
from fal_env_virtualenv.pythons import Python

VERSION = 1
#: Written last, inside an environment: its digest.
MARKER = ".fal-core-complete"
#: Locked, shared, by whoever uses the environment.
IN_USE = ".fal-core-in-use"

_in_use: dict[str, int] = {}
#: The keys that ``force`` has built anew in this process.
forced: set[str] = set()
os.register_at_fork(after_in_child=_in_use.clear)


@attrs.frozen(kw_only=True)
class Record:
    """
    What was resolved for a declaration.

    Attributes:
        key: Of the declaration.

        requirements: As declared, in layers, without credentials.

        pins: What was installed, as lines of a requirements file, with the hashes
            that the index told.

        packages: The names of the directories that describe what is installed.

        created: Seconds since the epoch.
    """

    __repr__ = show_fields

    key: str
    requirements: tuple[tuple[str, ...], ...]
    python: Python
    platform: str
    pins: tuple[str, ...]
    packages: tuple[str, ...]
    created: float
    compile_bytecode: bool = False
    extra_index_urls: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """
        Names the directory of the environment.
        """
        text = json.dumps(attrs.asdict(self), sort_keys=True)
        return digest(text.encode(), 16)

    @property
    def path(self) -> str:
        """
        The directory of the environment, whether it is there or not.
        """
        return os.path.join(store_root(), self.digest)

    @property
    def executable(self) -> str:
        """
        The Python of the environment.
        """
        return os.path.join(self.path, "bin", "python")


def store_root() -> str:
    """
    Return the directory of everything this plugin keeps.
    """
    return os.path.join(cache_root(), "virtualenvs")


def record_path(key: str) -> str:
    """
    Return where the record of *key* is kept.
    """
    return os.path.join(store_root(), "keys", f"{key}.json")


def lock_path(key: str) -> str:
    """
    Return the file that is locked by whoever builds for *key*.
    """
    return os.path.join(store_root(), "locks", f"{key}.lock")


def read_record(key: str) -> Record | None:
    """
    Return the record of *key*; None where there is none that can be read.
    """
    try:
        with open(record_path(key), encoding="utf-8") as stream:
            return _structure(json.load(stream))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _structure(loaded: dict[str, Any]) -> Record | None:
    if loaded.pop("version") != VERSION:
        return None
    layers = tuple(tuple(layer) for layer in loaded.pop("requirements"))
    return Record(
        python=Python(**loaded.pop("python")),
        requirements=layers,
        pins=tuple(loaded.pop("pins")),
        packages=tuple(loaded.pop("packages")),
        extra_index_urls=tuple(loaded.pop("extra_index_urls")),
        **loaded,
    )


def write_record(record: Record) -> None:
    """
    Keep *record* in place of an earlier one of its key.
    """
    os.makedirs(os.path.join(store_root(), "keys"), exist_ok=True)
    text = json.dumps({"version": VERSION, **attrs.asdict(record)}, indent=1)
    files.write_atomically(record_path(record.key), text)


def fault(record: Record) -> str | None:
    """
    Tell what is wrong with the environment of *record*, at a glance; None if nothing.

    It looks at what a killed build or a cleaned disk leaves, and starts nothing.
    """
    path = record.path
    try:
        with open(os.path.join(path, MARKER), encoding="utf-8") as stream:
            if stream.read().strip() != record.digest:
                return "its marker names another environment"
    except FileNotFoundError:
        return "it is not there" if not os.path.isdir(path) else "it was never finished"
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


def take(record: Record) -> bool:
    """
    Mark the environment of *record* as used by this process until it ends.

    Return whether the environment is there, whole at a glance.
    """
    path = record.path
    lock = os.path.join(path, IN_USE)
    known = _in_use.get(path)
    if known is None or not files.is_locked_by(known, lock):
        try:
            descriptor = files.open_lock(lock, shared=True)
        except OSError:
            return False
        if descriptor is None:
            return False  # It is being removed.
        other = _in_use.get(path)
        _in_use[path] = descriptor
        if other is not None:
            files.close_lock(other)
    return fault(record) is None


def release(path: str) -> None:
    """
    Take back what :func:`take` marked in this process.
    """
    descriptor = _in_use.pop(path, None)
    if descriptor is not None:
        files.close_lock(descriptor)


def touch(key: str) -> None:
    """
    Remember that the environment of *key* is used now.
    """
    try:
        os.utime(record_path(key))
    except OSError:
        pass  # The cache may be read-only; only the order of removal suffers.


def find(key: str, *, force: bool) -> LocalInterpreter | None:
    """
    Return the interpreter of the environment of *key*, and mark it as used.

    None where it must be built: it is not there, or *force* was not yet heeded.
    """
    if force and key not in forced:
        return None
    record = read_record(key)
    if record is None or not take(record):
        return None
    touch(key)
    return LocalInterpreter(record.executable, record.python.minor_version)
