"""
The Pythons of this machine that environments are made from.
"""

from __future__ import annotations

import os
import re
import sys
from threading import Lock
from typing import Any

import attrs

from fal_core.errors import OptionError, UnknownNameError

_VERSION = re.compile(r"3(\.\d+){0,2}t?")
_PROBE = (
    "import sys; print(getattr(sys, '_base_executable', None) or sys.executable,"
    "'.'.join(map(str, sys.version_info[:3])), sys.implementation.name,"
    "getattr(sys, 'abiflags', ''), sep='\\n')"
)
_found: dict[tuple[str, str], Python] = {}
_finding = Lock()


@attrs.frozen(kw_only=True)
class Python:
    """
    An interpreter that belongs to no virtual environment.

    Attributes:
        executable: Its path, without links.

        version: All three numbers, as in ``3.11.7``.

        implementation: As in ``cpython``.

        abiflags: ``t`` where it runs without the global lock.
    """

    executable: str
    version: str
    implementation: str = "cpython"
    abiflags: str = ""

    @property
    def minor_version(self) -> str:
        """
        The first two numbers, as in ``3.11``.
        """
        return ".".join(self.version.split(".")[:2])

    @property
    def library(self) -> str:
        """
        Where an environment of it keeps packages, from its root.
        """
        name = "pypy" if self.implementation == "pypy" else "python"
        threads = "t" if "t" in self.abiflags else ""
        return f"lib/{name}{self.minor_version}{threads}/site-packages"


def check_version(version: str) -> None:
    """
    Refuse what is not written as a version of Python.

    Raises:
        OptionError: It is not.
    """
    if _VERSION.fullmatch(version.strip()) is None:
        raise OptionError(
            "Option 'python_version' must be a version of Python 3, as in '3.11', "
            f"not {version!r}."
        )


def running_python() -> Python:
    """
    Return the interpreter that runs this, or that its environment is made from.
    """
    executable = getattr(sys, "_base_executable", None) or sys.executable
    if not os.path.exists(executable):
        executable = sys.executable  # The base may have no program of that name.
    return Python(
        executable=os.path.realpath(executable),
        version=".".join(map(str, sys.version_info[:3])),
        implementation=sys.implementation.name,
        abiflags=getattr(sys, "abiflags", ""),
    )


def find_python(version: str | None, root: str) -> Python:
    """
    Return an interpreter of *version*; the running one where it fits.

    What was found is kept under *root*, so that only the first search of a
    machine starts processes.

    Raises:
        UnknownNameError: There is none; the error lists those there are.
    """
    running = running_python()
    if version is None or fits(running, version):
        return running
    with _finding:
        known = _found.get((root, version))
        if known is None or not os.access(known.executable, os.X_OK):
            known = _read(version, root) or _search(version, root)
            _found[root, version] = known
        return known


def fits(python: Python, version: str) -> bool:
    """
    Tell whether *python* is one of *version*, which may leave numbers out.
    """
    wanted = version.strip()
    if wanted.endswith("t") != ("t" in python.abiflags):
        return False
    numbers = wanted.rstrip("t").split(".")
    return python.version.split(".")[: len(numbers)] == numbers


def _path(root: str) -> str:
    return os.path.join(root, "pythons.json")


def _stamp(executable: str) -> list[int]:
    status = os.stat(executable)
    return [status.st_mtime_ns, status.st_size]


def _load(root: str) -> dict[str, Any]:
    import json

    try:
        with open(_path(root), encoding="utf-8") as stream:
            loaded = json.load(stream)
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _read(version: str, root: str) -> Python | None:
    """
    Return what an earlier search found, if that interpreter is still the same.
    """
    try:
        entry = _load(root)[version]
        python = Python(**entry["python"])
        return python if _stamp(python.executable) == entry["stamp"] else None
    except (KeyError, TypeError, OSError):
        return None


def _search(version: str, root: str) -> Python:
    from fal_env_virtualenv.files import write_atomically
    from fal_env_virtualenv.tools import ask, uv_command

    code, output = ask([*uv_command(), "python", "find", "--system", "--no-project", version])
    if code != 0:
        raise UnknownNameError(
            "Python version",
            version,
            tuple(_installed()),
            f"Install it where it is found, or run 'uv python install {version}'.",
        )
    python = probe(output.strip().splitlines()[-1])
    try:
        import json

        entry = {"python": attrs.asdict(python), "stamp": _stamp(python.executable)}
        os.makedirs(root, exist_ok=True)
        write_atomically(_path(root), json.dumps({**_load(root), version: entry}, indent=1))
    except OSError:
        pass  # A cache that cannot be written costs the next process a search.
    return python


def probe(executable: str) -> Python:
    """
    Start *executable* and return what it is, links and environments undone.
    """
    from fal_env_virtualenv.tools import ask

    code, output = ask([executable, "-I", "-S", "-c", _PROBE])
    lines = output.splitlines()
    if code != 0 or len(lines) < 4:
        raise OptionError(f"The Python at {executable} does not start: {output.strip()[-300:]}")
    path, version, implementation, abiflags = lines[-4:]
    return Python(
        executable=os.path.realpath(path),
        version=version,
        implementation=implementation,
        abiflags=abiflags,
    )


def _installed() -> list[str]:
    """
    List the versions of the Pythons that uv finds.
    """
    from fal_env_virtualenv.tools import ask, uv_command

    _, output = ask([*uv_command(), "python", "list", "--only-installed"])
    found = re.findall(r"^cpython-(\d+\.\d+\.\d+)-", output, re.MULTILINE)
    versions = {*found, running_python().version}
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])
