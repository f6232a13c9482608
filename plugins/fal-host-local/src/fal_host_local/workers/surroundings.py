"""Surroundings: what of this machine a worker has to see."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fal_core.calls import Call

#: One of them stands at the top of a project.
_TOPS = ("pyproject.toml", ".git", "setup.py")


def find_folders(
    directory: str, call: Call | None, *, origin: str | None = None
) -> dict[str, str]:
    """
    Return the folders that a worker has to see, each with where it sees it: those that
    *call* names, or the working directory and the project that the function is written in.

    Arguments:
        origin: The file of the function, where no call waits.
    """
    if call is not None and call.folders is not None:
        return dict(call.folders)
    folders = {directory}
    if call is not None:
        origin = call.origin
    if origin is not None and os.path.isfile(origin):
        folders.add(find_project(os.path.dirname(os.path.abspath(origin))))
    return {each: each for each in folders if each != os.sep}


def find_project(folder: str) -> str:
    """Return the top of the project around *folder*; *folder* if it belongs to none."""
    at = folder
    while True:
        if any(os.path.exists(os.path.join(at, name)) for name in _TOPS):
            return at
        above = os.path.dirname(at)
        if above == at:
            return folder
        at = above
