"""
Keys of environments: what makes one environment another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fal_core.digests import digest
from fal_env_virtualenv import contents, credentials
from fal_env_virtualenv.indexes import find_indexes, platform_name
from fal_env_virtualenv.pythons import find_python
from fal_env_virtualenv.records import store_root
from fal_env_virtualenv.requirements import Requirement, parse

if TYPE_CHECKING:
    from fal_env_virtualenv import Virtualenv

_VERSION = 1


def environment_key(environment: Virtualenv) -> str:
    """
    Return the key of *environment* as this machine is now.
    """
    python = find_python(environment.python_version, store_root())
    parts = (
        _VERSION,
        [[credentials.without(entry) for entry in layer] for layer in environment.layers],
        (python.executable, python.version),
        platform_name(),
        find_indexes(environment.extra_index_urls).fingerprint(),
        environment.compile_bytecode,
        environment.tags,
        list(_contents(environment)),
    )
    return digest(repr(parts).encode(), 32)


def environment_stamp(environment: Virtualenv) -> int | None:
    """
    Return what differs once local projects, or files of requirements, have changed.
    """
    found = tuple(contents.stamps(contents.local(_parsed(environment))))
    return hash(found) if found else None


def _parsed(environment: Virtualenv) -> Iterator[Requirement]:
    return (parse(entry) for layer in environment.layers for entry in layer)


def _contents(environment: Virtualenv) -> Iterator[str]:
    for requirement in contents.local(_parsed(environment)):
        yield contents.digest(requirement)
    if environment.constraints_file is not None:
        yield contents.file_digest(os.fspath(environment.constraints_file))
