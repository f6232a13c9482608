"""
Writing files so that readers see a whole file or none.
"""

from __future__ import annotations

import os


def write_atomically(path: str, text: str) -> None:
    """
    Write *text* to a temporary file, and rename it to *path*.
    """
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.part"
    try:
        write_durably(temporary, text)
        os.replace(temporary, path)
    except BaseException:
        remove_quietly(temporary)
        raise


def write_durably(path: str, text: str) -> None:
    """
    Write *text* to *path*, and return once it is on the disk.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


def remove_quietly(path: str) -> None:
    """
    Remove the file *path*, if it exists and can be removed.
    """
    try:
        os.unlink(path)
    except OSError:
        pass
