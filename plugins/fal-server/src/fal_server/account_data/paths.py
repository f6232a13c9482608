"""Paths below ``/data``, as clients name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from fal_server.errors import Invalid

#: Where applications see the directory of their account.
DATA = "/data"

#: The longest path, the longest name in one, in bytes, and the most names.
_LONGEST, _LONGEST_NAME, _MOST_NAMES = 3072, 255, 200


def read_path(text: str) -> tuple[str, ...]:
    """
    Return the names of the path *text* below ``/data``: that of the directory itself has none.
    A relative path begins there.

    Raises:
        Invalid: It leads elsewhere, or is too long.
    """
    is_absolute = text.startswith("/")
    # Two slashes at the beginning are a root of their own.
    parts = PurePosixPath(f"/{text.lstrip('/')}" if is_absolute else text).parts
    if is_absolute:
        if parts[:2] != ("/", "data"):
            raise Invalid(f"Files are in /data and below it, unlike {text[:80]!r}.")
        parts = parts[2:]
    try:
        sizes = [len(name.encode()) for name in parts]
    except UnicodeEncodeError:
        raise Invalid("The path is not valid Unicode.") from None
    if ".." in parts or "\0" in text:
        raise Invalid(f"The path {text[:80]!r} has '..' in it, or a NUL.")
    if sum(sizes) + len(sizes) > _LONGEST or max(sizes, default=0) > _LONGEST_NAME:
        raise Invalid(
            f"A path has {_LONGEST} bytes at most, of which a name has {_LONGEST_NAME}."
        )
    if len(parts) > _MOST_NAMES:
        raise Invalid(f"A path has {_MOST_NAMES} names at most.")
    return parts


def write_path(parts: Sequence[str]) -> str:
    """Return the path with these names as applications see it."""
    return "/".join((DATA, *parts))
