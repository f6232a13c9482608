"""
Directories: where the data and the files of a runner are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from fal_server_agent.mounts import mount


def settle(header: Mapping[str, Any], *, sockets: str = "") -> None:
    """
    Make the directories that a message names, and change to the one with the files.

    They are mounted where applications look for them, if this process may mount.

    Arguments:
        sockets: The directory of the runner's sockets, which stays where it is.
    """
    for each in header["directories"]:
        os.makedirs(each, mode=0o700, exist_ok=True)
    home, files = header["home"], header.get("directory")
    used = [*sys.path, sys.executable, home, sockets, *([files] if files else [])]
    # A mount hides everything below its path: Python and these directories must not be there.
    mounts = {
        path: directory
        for path, directory in header["mounts"].items()
        if not any(each == path or each.startswith(f"{path}/") for each in used)
    }
    mount(mounts, alone=home)
    if files:
        os.chdir(files)
        if files not in sys.path:
            sys.path.append(files)
