"""Sizes: amounts of memory, as people write and read them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def read_size(text: str) -> int | None:
    """
    Parse an amount of memory, and return it in bytes. None if it is not written as one.

    ``1 GB`` is a thousand million bytes, and ``1 GiB`` is 1024 times 1024 times 1024.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])
