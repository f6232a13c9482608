"""
Catalogues: machine types as data, with a source beside each.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from importlib import resources
from typing import Any

import attrs

from fal_core.machines import Machine
from fal_machines.sizes import read_size

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@functools.cache
def known_machines() -> Mapping[str, Machine]:
    """
    Return the machine types of the catalogue by name, in its order.
    """
    text = resources.files("fal_machines").joinpath("catalogue.toml").read_text("utf-8")
    document = tomllib.loads(text)
    sources = document["sources"]
    return {
        name: _read_machine(name, entry, sources)
        for name, entry in document["machines"].items()
    }


def _read_machine(name: str, entry: dict[str, Any], sources: Mapping[str, str]) -> Machine:
    stated = {key: entry[key] for key in attrs.fields_dict(Machine) if key in entry}
    for key in ("memory", "gpu_memory"):
        if key in stated:
            stated[key] = read_size(stated[key])
    stated["source"] = ", ".join(sources[each] for each in entry["source"])
    return Machine(name=name, **stated)
