"""
Wheels of channels, which uv installs.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from fal_env_conda.building.solutions import File
from fal_env_conda.declaring.channels import Credentials, add_credentials

if TYPE_CHECKING:
    from fal_uv.installing.installers import Installer

_ORIGIN = "direct_url.json"


def install_wheels(
    wheels: Iterable[File], installer: Installer, credentials: Iterable[Credentials]
) -> None:
    """
    Install *wheels*, which are fetched with *credentials*, and nothing that they need.

    Raises:
        EnvironmentBuildError: uv failed; the error says why.

        Cancelled: The build was cancelled.
    """
    known = tuple(credentials)
    located = [
        attrs.evolve(each, location=add_credentials(each.location, known)) for each in wheels
    ]
    before = _origins(installer.target.library)
    installer.install_pins([each.pin for each in located])
    for path in _origins(installer.target.library) - before:
        _forget_origin(path)


def _origins(library: str) -> set[str]:
    return set(glob.glob(os.path.join(glob.escape(library), "*.dist-info", _ORIGIN)))


def _forget_origin(path: str) -> None:
    """
    Have a wheel count as a version like any other: what uv notes of its URL may hold a token.
    """
    os.remove(path)
    record = os.path.join(os.path.dirname(path), "RECORD")
    with open(record, encoding="utf-8") as stream:
        kept = [line for line in stream if f"/{_ORIGIN}," not in line]
    # uv may have linked the file to its cache, and so it is replaced.
    os.remove(record)
    with open(record, "w", encoding="utf-8") as stream:
        stream.writelines(kept)
