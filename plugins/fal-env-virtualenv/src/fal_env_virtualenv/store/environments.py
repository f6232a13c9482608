"""
Environments that are kept: the record of each, and the marks inside it.

A build record says what was resolved for a recipe, so that it can be built the same again.
Marks say that the build of an environment has finished, and that a process uses it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.caches import (
    is_descriptor_of,
    is_locked,
    try_lock,
    unlock,
    write_atomically,
    write_durably,
)
from fal_core.digests import digest
from fal_core.environments import LocalInterpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_env_virtualenv.store.layout import list_directory, record_path, store_root
from fal_uv.requirements.pythons import Python

if TYPE_CHECKING:
    from fal_uv.requirements.entries import Layers

#: The version of build records, which is written into them.
_VERSION = 1

#: A file that is written last: the digest of the environment.
COMPLETE = ".fal-core-complete"
#: A file on which each process that uses the environment holds a shared lock.
IN_USE = ".fal-core-in-use"

# The locks of the environments that this process uses, by path.
_in_use: dict[str, int] = {}
os.register_at_fork(after_in_child=_in_use.clear)

#: The keys that this process has built because of the option ``force``.
forced: set[str] = set()


@attrs.frozen(kw_only=True)
class BuildRecord:
    """
    What was resolved for a recipe.

    Attributes:
        key: The key of the recipe.

        requirements: As declared, in layers, without credentials.

        pins: What was installed, as lines of a requirements file, with the hashes
            that the index states.

        packages: The names of the ``.dist-info`` directories of what is installed.

        created: Seconds since the epoch.
    """

    __repr__ = show_fields

    key: str
    requirements: Layers
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
        The name of the environment's directory.
        """
        text = json.dumps(attrs.asdict(self), sort_keys=True)
        return digest(text.encode(), 16)

    @property
    def path(self) -> str:
        """
        The directory of the environment, whether it exists or not.
        """
        return os.path.join(store_root(), self.digest)

    @property
    def executable(self) -> str:
        """
        The Python of the environment.
        """
        return os.path.join(self.path, "bin", "python")


def read_record(key: str) -> BuildRecord | None:
    """
    Return the build record of *key*; None if there is none, or it cannot be read.
    """
    try:
        with open(record_path(key), encoding="utf-8") as stream:
            return _structure(json.load(stream))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _structure(loaded: dict[str, Any]) -> BuildRecord | None:
    if loaded.pop("version") != _VERSION:
        return None
    layers = tuple(tuple(layer) for layer in loaded.pop("requirements"))
    return BuildRecord(
        python=Python(**loaded.pop("python")),
        requirements=layers,
        pins=tuple(loaded.pop("pins")),
        packages=tuple(loaded.pop("packages")),
        extra_index_urls=tuple(loaded.pop("extra_index_urls")),
        **loaded,
    )


def write_record(record: BuildRecord) -> None:
    """
    Keep *record*, in place of an earlier one of its key.
    """
    os.makedirs(os.path.join(store_root(), "keys"), exist_ok=True)
    text = json.dumps({"version": _VERSION, **attrs.asdict(record)}, indent=1)
    write_atomically(record_path(record.key), text)


def read_records() -> list[BuildRecord]:
    """
    Return all build records that can be read, sorted by key.
    """
    names = sorted(list_directory(os.path.join(store_root(), "keys")))
    keys = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return [record for key in keys if (record := read_record(key)) is not None]


def find_record(prefix: str) -> BuildRecord:
    """
    Return the build record whose key, or digest, begins with *prefix*.

    Raises:
        OptionError: There is none, or more than one.
    """
    records = read_records()
    found = [
        record
        for record in records
        if prefix and (record.key.startswith(prefix) or record.digest.startswith(prefix))
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(record.key[:12] for record in found or records) or "none"
    if found:
        raise OptionError(
            f"More than one environment has a key that begins with {prefix!r}: {known}."
        )
    raise OptionError(
        f"No environment has a key that begins with {prefix!r}. There are: {known}."
    )


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
