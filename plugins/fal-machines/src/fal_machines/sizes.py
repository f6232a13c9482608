"""
Sizes: amounts of memory, as people write and read them.
"""

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


def write_size(size: int) -> str:
    """
    Return *size*, in bytes, as a person reads it: ``80 GB``.
    """
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "KB")):
        if size >= 1000**power:
            number = f"{size / 1000**power:.1f}"
            return f"{number.removesuffix('.0')} {unit}"
    return f"{size} B"
