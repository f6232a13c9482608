"""
Build links: symbolic links through which uv sees an environment that is being built.

uv starts the interpreter of an environment to ask what it is, which takes longer than to
install a few small packages. It keeps the answer by the interpreter's path and the age
of the Python behind it. Each build has a directory of its own, so uv is given a path
that leads there through a link at which it has seen an environment of that Python before.

Each link has a lock, which the child processes of the build inherit. So a link is free
when the last of them has ended, even if their build was killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from fal_core.caches import leave_to_children, remove_quietly, try_lock
from fal_core.digests import digest
from fal_core.reprs import show_fields
from fal_uv.requirements.pythons import Python

#: How many builds with one Python have a link at the same time; others do without.
_LINKS = 8
#: The shell around uv uses the descriptors below this one itself.
_FIRST_DESCRIPTOR = 10


@attrs.frozen
class BuildLink:
    """
    A symbolic link that one build uses.

    Attributes:
        path: Where the link is.

        lock: The descriptor of its lock, to be inherited by child processes that use it.
    """

    __repr__ = show_fields

    path: str
    lock: int


@contextmanager
def linked(root: str, directory: str, python: Python) -> Iterator[BuildLink | None]:
    """
    Point a link below *root* to *directory* for as long as the context lasts.

    It is None if no link is free, and *directory* has to be used itself.
    """
    where = os.path.join(root, "links")
    os.makedirs(where, exist_ok=True)
    made_from = repr((os.path.realpath(python.executable), python.executable, python.version))
    name = os.path.join(where, digest(made_from.encode(), 8))
    for number in range(_LINKS):
        path = f"{name}.{number}"
        lock = try_lock(f"{path}.lock", shared=False, create=True, least=_FIRST_DESCRIPTOR)
        if lock is None:
            continue
        try:
            remove_quietly(path)
            os.symlink(directory, path)
            yield BuildLink(path, lock)
        finally:
            remove_quietly(path)
            leave_to_children(lock)
        return
    yield None
