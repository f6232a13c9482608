"""Places on the disk: what code names as ``/data``, wherever it runs."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from fal_core_worker.archives import cache_directory

#: The directory that outlives runners, as code that is written for fal names it.
PERSISTENT = PurePath("/data")
REPOSITORIES = PERSISTENT / ".fal" / "repos"
WEIGHTS = PERSISTENT / ".fal" / "model_weights"

#: Where runners of a server are told the directory of their account.
DATA_VARIABLE = "FAL_CORE_DATA"


def find_place(path: str | os.PathLike[str]) -> Path:
    """
    Return the place on this machine that *path* stands for.

    A relative path is one below ``/data``. That is the directory of the account for a
    runner of a server, ``/data`` itself where it can be written, and a folder of
    fal-core's cache elsewhere.
    """
    wanted = PERSISTENT / path
    try:
        inside = wanted.relative_to(PERSISTENT)
    except ValueError:
        return Path(wanted)
    return _persistent_directory() / inside


def _persistent_directory() -> Path:
    given = os.environ.get(DATA_VARIABLE)
    if given:
        return Path(given)
    if os.access(PERSISTENT, os.W_OK | os.X_OK):
        return Path(PERSISTENT)
    return Path(cache_directory("data", make=True))
