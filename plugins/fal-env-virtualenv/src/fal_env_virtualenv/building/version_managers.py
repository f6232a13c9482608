"""
Pythons that version managers keep: pyenv, asdf and mise.
"""

from __future__ import annotations

import os
import re

from fal_env_virtualenv.requirements.pythons import version_numbers

#: For each manager, the variable that names its directory, the default, and the
#: directory in it that has a directory for each version.
_MANAGERS = (
    ("PYENV_ROOT", "~/.pyenv", "versions"),
    ("ASDF_DATA_DIR", "~/.asdf", "installs/python"),
    ("MISE_DATA_DIR", "~/.local/share/mise", "installs/python"),
)


def managed_pythons() -> list[tuple[str, str]]:
    """
    Return the versions and paths of the Pythons of version managers, the newest first.

    No process is started: the directories are named by version.
    """
    found = set()
    for root, versions in _roots():
        directory = os.path.join(root, versions)
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            executable = os.path.join(directory, name, "bin", "python")
            if re.fullmatch(r"3\.\d+\.\d+t?", name) and os.access(executable, os.X_OK):
                found.add((name.rstrip("t"), executable))
    return sorted(found, key=lambda each: version_numbers(each[0]), reverse=True)


def path_without_shims() -> str:
    """
    Return the value of ``PATH`` without the shims of version managers.

    Each shim takes a process to say which version it leads to, if any; the Pythons
    themselves are in the managers' directories.
    """
    shims = {os.path.join(root, "shims") for root, _ in _roots()}
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(place for place in places if place.rstrip("/") not in shims)


def _roots() -> list[tuple[str, str]]:
    return [
        (os.path.expanduser(os.environ.get(variable) or usual), versions)
        for variable, usual, versions in _MANAGERS
    ]
