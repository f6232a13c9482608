"""
Empty virtual environments.
"""

from __future__ import annotations

import os
import sys

from fal_env_virtualenv.requirements.pythons import Python


def create_skeleton(path: str, python: Python) -> None:
    """
    Create an empty virtual environment at *path* that may be moved.

    It is the one that ``uv venv --relocatable`` makes, without activation scripts, and
    is made without starting a process.
    """
    programs = os.path.join(path, "bin")
    os.makedirs(programs)
    os.makedirs(os.path.join(path, python.library))
    os.symlink(python.executable, os.path.join(programs, "python"))
    for name in ("python3", f"python{python.minor_version}"):
        os.symlink("python", os.path.join(programs, name))
    if sys.platform == "linux" and sys.maxsize > 2**32:
        os.symlink("lib", os.path.join(path, "lib64"))
    settings = {
        "home": os.path.dirname(python.executable),
        "implementation": {"cpython": "CPython", "pypy": "PyPy"}.get(
            python.implementation, python.implementation
        ),
        "version_info": python.version,
        "include-system-site-packages": "false",
        "relocatable": "true",
    }
    with open(os.path.join(path, "pyvenv.cfg"), "w", encoding="utf-8") as stream:
        stream.writelines(f"{name} = {value}\n" for name, value in settings.items())
