"""
Build records: what was resolved for a recipe, so that it can be built the same again.
"""

from __future__ import annotations

import json
import os
from typing import Any

import attrs

from fal_core.caches import write_atomically
from fal_core.digests import digest
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_env_virtualenv.requirements.layers import Layers
from fal_env_virtualenv.requirements.pythons import Python
from fal_env_virtualenv.store.layout import list_directory, record_path, store_root

_VERSION = 1


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
