"""Disks: directories and their sizes, and errors of file systems as sentences."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from fal_core.caches import cache_root


def list_directory(path: str) -> list[str]:
    """Return the names in the directory *path*; none if it does not exist."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def disk_usage(path: str) -> int:
    """Return how many bytes the files below *path* take on the disk."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                pass  # It is being removed.
    return total


def file_stamps(paths: Iterable[str]) -> list[tuple[str, int, int, int]]:
    """Return a value that changes with the files of *paths* that exist, without reading them."""
    found = []
    for path in paths:
        try:
            file = os.stat(path)
        except OSError:
            continue
        found.append((path, file.st_ino, file.st_size, file.st_mtime_ns))
    return found


def describe_disk_error(error: OSError) -> str:
    """Return a sentence that says what failed in the cache, and what to do."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full:{where or ' a file'} could not be written. Free some space."
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) or _is_root_missing(error):
        return (
            f"The cache directory cannot be written:{where} ({error.strerror}). "
            "Set the variable FAL_CORE_CACHE to another directory."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"A file is where the cache directory needs a directory: {_blocking_file(error)}. "
            "Remove it, or set the variable FAL_CORE_CACHE to another directory."
        )
    return f"{error.strerror or error}:{where or ' the file system failed'}."


def _blocking_file(error: OSError) -> str:
    """Return the longest part of the error's path that exists."""
    path = str(error.filename)
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _is_root_missing(error: OSError) -> bool:
    """Tell whether the cache directory, or a directory above it, cannot be created."""
    if error.errno != errno.ENOENT or not isinstance(error.filename, str):
        return False
    return f"{cache_root()}/".startswith(f"{error.filename}/")
