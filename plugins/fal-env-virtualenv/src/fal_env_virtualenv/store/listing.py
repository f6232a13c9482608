"""
Listing the environments that are kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from fal_env_virtualenv.store.environments import (
    BuildRecord,
    find_fault,
    find_record,
    is_in_use,
    read_records,
)
from fal_env_virtualenv.store.layout import disk_usage, record_path
from fal_uv.requirements.entries import Layers
from fal_uv.running.running_processes import command_lines


@attrs.frozen(kw_only=True)
class StoredEnvironment:
    """
    One environment that has a build record.

    Attributes:
        size: Bytes on the disk; files shared with uv's cache count in full.

        created: Seconds since the epoch, as *last_used* is.

        in_use: Whether a process uses it now.

        fault: What is wrong with it, as far as a quick look shows; None if nothing.
    """

    key: str
    digest: str
    path: str
    requirements: Layers
    python_version: str
    size: int
    created: float
    last_used: float
    in_use: bool
    fault: str | None


def list_environments() -> list[StoredEnvironment]:
    """
    Return the environments that are kept, the most recently used first.
    """
    commands = command_lines()
    listed = [_describe(record, commands) for record in read_records()]
    return sorted(listed, key=lambda environment: environment.last_used, reverse=True)


def find_stored(prefix: str) -> StoredEnvironment:
    """
    Return the environment whose key, or digest, begins with *prefix*.

    Raises:
        OptionError: There is none, or more than one.
    """
    return _describe(find_record(prefix), command_lines())


def _describe(record: BuildRecord, commands: Sequence[bytes]) -> StoredEnvironment:
    try:
        last_used = os.stat(record_path(record.key)).st_mtime
    except FileNotFoundError:
        last_used = record.created
    return StoredEnvironment(
        key=record.key,
        digest=record.digest,
        path=record.path,
        requirements=record.requirements,
        python_version=record.python.version,
        size=disk_usage(record.path),
        created=record.created,
        last_used=last_used,
        in_use=is_in_use(record.path, commands),
        fault=find_fault(record),
    )
