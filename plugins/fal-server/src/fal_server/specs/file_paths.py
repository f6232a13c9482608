"""File paths: where the files of an application, and its data, may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from fal_server.errors import Invalid

#: The longest path, and the longest name in one, in bytes: no system takes longer names, and
#: the path of a runner's directory stands before the path.
_LONGEST, _LONGEST_NAME = 3072, 255

_HASH = re.compile(r"[0-9a-f]{64}")


def read_files(files: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """
    Return *files*, which are pairs of a hash and a path, with paths in their plain form.

    Raises:
        Invalid: A path is not safe, or a file is in the place of another file or of a
            directory; or a hash is not one.
    """
    found: dict[PurePosixPath, str] = {}
    for hash, written in files:
        path = safe_path(written)
        if not _HASH.fullmatch(hash):
            raise Invalid(f"{hash[:80]!r} is not the hash of a file, for {written[:80]!r}.")
        if found.setdefault(path, hash) != hash:
            raise Invalid(f"Two files of the application are called {str(path)[:80]!r}.")
    for path in found:
        for parent in path.parents:
            if parent in found:
                raise Invalid(
                    f"{str(parent)[:80]!r} is a file of the application, so that there can be "
                    f"no {str(path)[:80]!r}."
                )
    return tuple((hash, str(path)) for path, hash in found.items())


def safe_path(path: str) -> PurePosixPath:
    """
    Parse a relative path.

    Raises:
        Invalid: It is not a path, leads out of its folder, or is too long.
    """
    found = PurePosixPath(path)
    is_safe = found.parts and not found.is_absolute() and ".." not in found.parts
    if not is_safe or "\\" in path or not _fits(found):
        raise Invalid(
            f"{path[:80]!r} is not a path for a file of an application: it must be relative, "
            f"without '..' and backslashes, and of at most {_LONGEST} bytes, of which each "
            f"name has at most {_LONGEST_NAME}."
        )
    return found


def check_mount(path: str) -> str:
    """
    Return *path* if it can be a directory of an account's data.

    Raises:
        Invalid: It is outside of ``/data``, or too long.
    """
    parts = PurePosixPath(path).parts
    if parts[:2] != ("/", "data") or ".." in parts or not _fits(PurePosixPath(path)):
        raise Invalid(f"Only /data and directories in it can be mounted, unlike {path[:80]!r}.")
    return path


def _fits(path: PurePosixPath) -> bool:
    """Return whether a file system takes *path*."""
    try:
        sizes = [len(each.encode()) for each in (str(path), *path.parts)]
    except UnicodeEncodeError:
        return False
    return "\0" not in str(path) and sizes[0] <= _LONGEST and max(sizes[1:]) <= _LONGEST_NAME
