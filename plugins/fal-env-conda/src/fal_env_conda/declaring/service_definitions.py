"""
What a service is told that builds a conda environment itself.

It has no file of this machine, and takes no lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from fal_core.errors import OptionError
from fal_env_conda.declaring.definitions import Definition


def service_options(definition: Definition, **options: Any) -> dict[str, Any]:
    """
    Return those *options* of an environment that say something, as values for JSON.

    Raises:
        OptionError: The environment is of a lock, or needs what is on this machine alone.
    """
    if definition.lock is not None:
        raise OptionError(
            "Locks of conda environments are for hosts that build them here. Name the "
            "environment.yml that the lock was made of."
        )
    _refuse_local("Channel", (each for each in definition.channels if each.startswith("file:")))
    _refuse_local("Package", (each for each in definition.packages if "file:" in each))
    _refuse_local("Requirement", (each for each in definition.pip if _is_local(each)))
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value is not None
    }


def _is_local(requirement: str) -> bool:
    from fal_uv.requirements.entries import parse_entry

    parsed = parse_entry(requirement)
    return parsed.path is not None or os.path.isabs(requirement)


def _refuse_local(what: str, local: Iterable[str]) -> None:
    for each in local:
        raise OptionError(
            f"{what} {each!r} is on this machine alone, and the service builds the conda "
            "environment. Name one that it can reach."
        )
