"""
Where environments are kept: the directory ``virtualenvs`` below the cache root.

Beside what every store has, it contains::

    keys/<key>.json     the build record of a key: what was resolved for a recipe
    <digest>/           an environment, named by the digest of its build record
    links/              symbolic links to environments that uv works on, and their locks
    pythons.json        interpreters that were found by earlier searches
    uv.json             the index that uv uses if nothing names one

A build record outlives its environment, which is built again from its pins when lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.caches import remove_quietly, write_atomically
from fal_core.digests import digest
from fal_core.environments import LocalInterpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_core.stores import DirectoryStore
from fal_uv.requirements.pythons import Python

if TYPE_CHECKING:
    from fal_core.stores import StoredEntry
    from fal_uv.requirements.entries import Layers

#: The kind of environment, as errors name it.
KIND = "virtualenv"

#: The version of build records, which is written into them.
_VERSION = 1

#: The keys that this process has built because of the option ``force``.
forced: set[str] = set()


class VirtualenvStore(DirectoryStore):
    """The environments, each named by the digest of its build record."""

    __slots__ = ()

    def make_directories(self) -> None:
        super().make_directories()
        os.makedirs(os.path.join(self.root, "keys"), exist_ok=True)

    def entries(self) -> list[StoredEntry]:
        from fal_core.stores import command_lines

        commands = command_lines()
        return [self.describe(record, commands) for record in read_records()]

    def describe(self, record: BuildRecord, commands: Sequence[bytes]) -> StoredEntry:
        """
        Return the environment of *record*, whether it is there or not.

        Arguments:
            commands: The command lines of all processes of this machine.
        """
        from fal_core.stores import StoredEntry, entry_usage

        try:
            last_used = os.stat(record_path(record.key)).st_mtime
        except FileNotFoundError:
            last_used = record.created
        layers = " | ".join(" ".join(layer) for layer in record.requirements)
        if record.project is not None:
            layers = f"project {record.project} {layers}".strip()
        in_use = self.is_in_use(record.digest, commands)
        return StoredEntry(
            kind=self.kind,
            key=record.key,
            path=record.path,
            size=entry_usage(record.path, last_used=last_used, in_use=in_use),
            created=record.created,
            last_used=last_used,
            in_use=in_use,
            fault=find_fault(record),
            summary=f"{layers} (Python {record.python.version})".strip(),
            details={
                "digest": record.digest,
                "python_version": record.python.version,
                "requirements": record.requirements,
            },
        )

    def forget(self, key: str, name: str) -> None:
        record = read_record(key)
        if record is not None and record.digest == name:
            remove_quietly(record_path(key))

    def find_strays(self) -> list[str]:
        # A record is written before its environment gets its place: read in this order,
        # an environment that has just been finished is not taken for a stray.
        names = self.finished_names()
        known = {record.digest for record in read_records()}
        return [name for name in names if name not in known]


STORE = VirtualenvStore(folder="virtualenvs", kind=KIND)


@attrs.frozen(kw_only=True)
class BuildRecord:
    """
    What was resolved for a recipe.

    Attributes:
        key: The key of the recipe.

        requirements: As declared, in layers, without credentials.

        pins: What was installed, as lines of a requirements file, with the hashes
            that the index states.

        lock: The text of the lock that what *pins* leave out was installed from.

        project: The directory of the project, if it was declared.

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
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    torch_backend: str | None = None
    project: str | None = None
    lock: str | None = None

    @cached_property
    def digest(self) -> str:
        """The name of the environment's directory."""
        # What is not set had no name once.
        values = {
            name: value for name, value in attrs.asdict(self).items() if value is not None
        }
        text = json.dumps(values, sort_keys=True)
        return digest(text.encode(), 16)

    @property
    def path(self) -> str:
        """The directory of the environment, whether it exists or not."""
        return STORE.path(self.digest)

    @property
    def executable(self) -> str:
        """The Python of the environment."""
        return os.path.join(self.path, "bin", "python")


def record_path(key: str) -> str:
    """Return the path of the build record of *key*."""
    return os.path.join(STORE.root, "keys", f"{key}.json")


def read_record(key: str) -> BuildRecord | None:
    """Return the build record of *key*; None if there is none, or it cannot be read."""
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
    """Keep *record*, in place of an earlier one of its key."""
    os.makedirs(os.path.join(STORE.root, "keys"), exist_ok=True)
    text = json.dumps({"version": _VERSION, **attrs.asdict(record)}, indent=1)
    write_atomically(record_path(record.key), text)


def read_records() -> list[BuildRecord]:
    """Return all build records that can be read, sorted by key."""
    from fal_core.stores import list_directory

    names = sorted(list_directory(os.path.join(STORE.root, "keys")))
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


def find_fault(record: BuildRecord) -> str | None:
    """
    Say what is wrong with the environment of *record*; None if nothing is.

    This is a quick look for what a killed build or a cleaned disk leaves behind; it
    starts no process.
    """
    fault = STORE.find_fault(record.digest)
    if fault is not None:
        return fault
    path = record.path
    if not os.access(os.path.join(path, "bin", "python"), os.X_OK):
        return f"its interpreter {record.python.executable} is gone"
    try:
        present = set(os.listdir(os.path.join(path, record.python.library)))
    except OSError:
        return "its packages are gone"
    missing = [name for name in record.packages if name not in present]
    return f"{missing[0]} is gone" if missing else None


def find_built(key: str, *, force: bool) -> LocalInterpreter | None:
    """
    Return the interpreter of the environment of *key*, and mark it as used.

    None if it must be built: it is not there or has a fault, or *force* is set and this
    process has not built it yet.
    """
    if force and key not in forced:
        return None
    record = read_record(key)
    if record is None or not STORE.take(record.digest) or find_fault(record) is not None:
        return None
    try:
        os.utime(record_path(key))
    except OSError:
        pass  # The cache may be read-only; only the order of removal suffers.
    return LocalInterpreter(record.executable, record.python.minor_version)
