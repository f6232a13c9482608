"""Memory: the memory limits of machine types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fal_core.plugins import load_plugins
from fal_server.errors import ServerError

_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

#: The smallest limit with which a runner starts, in bytes.
LEAST = 64 << 20


def read_sizes(written: Iterable[str]) -> Mapping[str, int]:
    """
    Parse memory limits as in ``XS=512M``, and return them in bytes by machine type.

    Raises:
        ServerError: A limit is not written so, or is too small for any runner.
    """
    sizes = {}
    for each in written:
        name, _, text = each.partition("=")
        size = read_size(text)
        if not name or size is None:
            raise ServerError(
                f"{each!r} is not written as TYPE=SIZE, where SIZE is a whole number of bytes, "
                "or of K, M, G or T, as in XS=512M or GPU=16G."
            )
        if size < LEAST:
            raise ServerError(f"A runner needs at least 64M of memory, and {each!r} is less.")
        sizes[name] = size
    return sizes


def read_size(text: str) -> int | None:
    """Parse a number of bytes, as in ``512M``. None if it is not written so."""
    found = _SIZE.fullmatch(text.strip())
    return None if found is None else int(found[1]) * _UNITS[found[2].upper()]


def memory_of(machine_type: str, sizes: Mapping[str, int], *, stated: bool) -> int | None:
    """
    Return the memory limit of *machine_type* in bytes. None where it has none.

    Arguments:
        sizes: The limits that the operator has named.

        stated: Whether the others are what plugins state of the type.
    """
    if machine_type in sizes or not stated:
        return sizes.get(machine_type)
    machine = load_plugins().hooks.resolve("fal_resolve_machine", machine_type=machine_type)
    return None if machine is None else machine.memory
