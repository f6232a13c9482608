"""
Keys: recipes with equal keys share one environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from fal_core.digests import digest
from fal_env_virtualenv.building.indexes import find_indexes
from fal_env_virtualenv.building.interpreters import find_python
from fal_env_virtualenv.requirements import local_contents, url_credentials
from fal_env_virtualenv.requirements.local_references import local_requirements
from fal_env_virtualenv.requirements.recipes import Recipe
from fal_env_virtualenv.store.layout import store_root

_VERSION = 1


def environment_key(recipe: Recipe) -> str:
    """
    Return the key of *recipe*, given the Python, indexes and local files of this machine.

    Raises:
        UnknownNameError: There is no Python of the version that *recipe* asks for.
    """
    python = find_python(recipe.python_version, store_root())
    parts = (
        _VERSION,
        [[url_credentials.strip(entry) for entry in layer] for layer in recipe.layers],
        (python.executable, python.version),
        platform_name(),
        find_indexes(recipe.extra_index_urls).fingerprint(),
        recipe.compile_bytecode,
        recipe.tags,
        list(_contents(recipe)),
    )
    return digest(repr(parts).encode(), 32)


def environment_stamp(recipe: Recipe) -> int | None:
    """
    Return a value that changes with the local projects and files that *recipe* names.

    It is None if *recipe* names none.
    """
    found = tuple(local_contents.stamps(local_requirements(recipe.requirements())))
    return hash(found) if found else None


def platform_name() -> str:
    """
    Return what wheels depend on apart from the interpreter: system, machine, C library.
    """
    machine = os.uname().machine
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        library = None
    return f"{sys.platform}-{machine}-{library or ''}"


def _contents(recipe: Recipe) -> Iterator[str]:
    for requirement in local_requirements(recipe.requirements()):
        yield local_contents.digest(requirement)
    if recipe.constraints_file is not None:
        yield local_contents.file_digest(recipe.constraints_file)
