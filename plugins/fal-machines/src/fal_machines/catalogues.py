"""Catalogues: machine types as data, with a source beside each."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from fal_core.machines import Machine
from fal_machines.entries import Document
from fal_machines.files import find_document
from fal_machines.sizes import read_size
from fal_machines.toml_files import parse_toml

#: Fields of an entry that are written with a unit.
_SIZES = ("memory", "gpu_memory")


def known_machines() -> Mapping[str, Machine]:
    """
    Return the machine types by name: those of the catalogue, with what the user has declared
    over them, and then the user's own.

    Raises:
        MachineFileError: The user's file is wrong.
    """
    document = find_document()
    return catalogue() if document is None else _merged(document)


@functools.cache
def catalogue() -> Mapping[str, Machine]:
    """Return the machine types that come with this package, by name."""
    path = os.path.join(os.path.dirname(__file__), "catalogue.toml")
    with open(path, encoding="utf-8") as file:
        document = parse_toml(file.read())
    sources: Mapping[str, str] = document["sources"]
    return {
        name: _read_entry(name, entry, sources) for name, entry in document["machines"].items()
    }


def _merged(document: Document) -> Mapping[str, Machine]:
    # The same document is found again and again while a program declares its functions.
    global _latest
    latest = _latest
    if latest is None or latest[0] is not document:
        latest = _latest = (document, document.read(catalogue()))
    return latest[1]


_latest: tuple[Document, Mapping[str, Machine]] | None = None


def _read_entry(name: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> Machine:
    stated = {key: read_size(entry[key]) for key in _SIZES if key in entry}
    source = ", ".join(sources[each] for each in entry["source"])
    return Machine(name=name, **{**entry, **stated, "source": source})
