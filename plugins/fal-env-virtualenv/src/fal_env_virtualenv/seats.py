"""
Seats: the paths at which uv sees environments while they are built.

uv starts the interpreter of an environment to ask what it is, which takes longer than to
install a few small packages, and keeps the answer by the interpreter's path and the age
of the Python behind it. Each build has a place of its own, so uv is led there through a
link where it has seen an environment of that Python before.

A seat has a lock, which the processes that are led through it inherit. So it is free
again when the last of them has ended, also where their build was killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fal_core.digests import digest
from fal_env_virtualenv import files
from fal_env_virtualenv.pythons import Python

#: How many builds with one Python have a seat at once; others go without.
_SEATS = 8
#: What the shell around uv has descriptors of its own below.
_FIRST_DESCRIPTOR = 10


@contextmanager
def taken(root: str, directory: str, python: Python) -> Iterator[tuple[str, int] | None]:
    """
    Lead a path below *root* to *directory* for as long as the context lasts.

    It is the path and the descriptor that whoever is led through it must inherit; None
    where none is free, and *directory* has to be named itself.
    """
    where = os.path.join(root, "seats")
    os.makedirs(where, exist_ok=True)
    made_of = repr((os.path.realpath(python.executable), python.executable, python.version))
    name = os.path.join(where, digest(made_of.encode(), 8))
    for number in range(_SEATS):
        path = f"{name}.{number}"
        lock = files.open_lock(
            f"{path}.lock", shared=False, create=True, least=_FIRST_DESCRIPTOR
        )
        if lock is None:
            continue
        try:
            files.remove_quietly(path)
            os.symlink(directory, path)
            yield path, lock
        finally:
            files.remove_quietly(path)
            files.leave_lock(lock)
        return
    yield None
