"""
Recipes: what an environment is built from. Those with equal keys share one.

Most recipes fit the running Python. What only the others need is imported for them.
"""

from __future__ import annotations

import os
import sys

import attrs

from fal_core import digests
from fal_core.reprs import show_fields
from fal_env_virtualenv.store.environments import STORE
from fal_uv.installing.package_requests import PackageRequest
from fal_uv.requirements.pythons import Python, running_python

_VERSION = 2


@attrs.frozen(kw_only=True)
class VenvRecipe:
    """
    The options that tell one environment from another.

    Attributes:
        packages: What is installed.

        python_version: As in ``3.11``. None for the version of the launching Python.

        tags: Words that keep this environment apart from otherwise equal ones.
    """

    __repr__ = show_fields

    packages: PackageRequest
    python_version: str | None = None
    compile_bytecode: bool = False
    tags: tuple[str, ...] = ()


def environment_key(recipe: VenvRecipe) -> str:
    """
    Return the key of *recipe*, given the Python, indexes and local files of this machine.

    Raises:
        UnknownNameError: There is no Python of the version that *recipe* asks for.
    """
    python = _find_python(recipe.python_version)
    parts = (
        _VERSION,
        recipe.packages.fingerprint(),
        # A build without a GIL needs other wheels.
        (python.executable, python.version + python.abiflags),
        platform_name(),
        recipe.compile_bytecode,
        recipe.tags,
    )
    return digests.digest(repr(parts).encode(), 32)


def platform_name() -> str:
    """Return what wheels depend on apart from the interpreter: system, machine, C library."""
    machine = os.uname().machine
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        library = None
    return f"{sys.platform}-{machine}-{library or ''}"


def _find_python(version: str | None) -> Python:
    running = running_python()
    if version is None or running.fits(version):
        return running
    from fal_uv.installing.interpreters import find_python

    return find_python(version, STORE.root)
