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

from fal_core.environments import OLDEST_PYTHON
from fal_core.errors import FalCoreError, OptionError, UnknownNameError
from fal_core.reprs import show_fields

_VERSION = r"3(\.\d+){0,2}t?"
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

    __repr__ = show_fields

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
    Refuse what is not written as a version of Python, or is older than a worker needs.

    Raises:
        OptionError: It is one of these.
    """
    if re.fullmatch(_VERSION, version.strip()) is None:
        raise OptionError(
            "Option 'python_version' must be a version of Python 3, as in '3.11', "
            f"not {version!r}. {_what_there_is()}"
        )
    if not _is_usable(version.strip().rstrip("t")):
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise OptionError(
            f"Option 'python_version' must be {oldest} or newer, which a worker needs, "
            f"not {version!r}. {_what_there_is()}"
        )


def _what_there_is() -> str:
    try:
        return f"Installed: {', '.join(_installed())}."
    except FalCoreError:
        # Without uv there is this one at least, and no reason to tell of uv.
        return f"Installed: {running_python().version}."


def _is_usable(version: str) -> bool:
    # What leaves its minor out takes the newest that there is.
    numbers = _numbers(version)
    return len(numbers) < 2 or tuple(numbers) >= OLDEST_PYTHON


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

    python = _ask_uv(version) or _search_managers(version)
    if python is None:
        raise UnknownNameError(
            "Python version",
            version,
            tuple(_installed()),
            f"Install it where it is found, or run 'uv python install {version}'.",
        )
    try:
        import json

        entry = {"python": attrs.asdict(python), "stamp": _stamp(python.executable)}
        os.makedirs(root, exist_ok=True)
        write_atomically(_path(root), json.dumps({**_load(root), version: entry}, indent=1))
    except OSError:
        pass  # A cache that cannot be written costs the next process a search.
    return python


def _ask_uv(version: str) -> Python | None:
    from fal_env_virtualenv.tools import ask, uv_command

    command = [*uv_command(), "python", "find", "--system", "--no-project", version]
    code, output = ask(command, variables=_without_shims())
    return probe(output.strip().splitlines()[-1]) if code == 0 else None


def _search_managers(version: str) -> Python | None:
    """
    Return the newest Python of *version* that a version manager keeps.
    """
    for written, executable in _managed():
        if fits(Python(executable=executable, version=written), version.rstrip("t")):
            try:
                python = probe(executable)
            except OptionError:
                continue  # What does not start is as good as not there.
            if fits(python, version):
                return python
    return None


#: Version managers: the variable that names their directory, where it is otherwise,
#: and where in it there is a directory for each version.
_MANAGERS = (
    ("PYENV_ROOT", "~/.pyenv", "versions"),
    ("ASDF_DATA_DIR", "~/.asdf", "installs/python"),
    ("MISE_DATA_DIR", "~/.local/share/mise", "installs/python"),
)


def _managed() -> list[tuple[str, str]]:
    """
    Return versions and paths of the Pythons that version managers keep, the newest first.

    No process is started: the names of the directories tell the versions.
    """
    found = set()
    for root, versions in _manager_roots():
        directory = os.path.join(root, versions)
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            executable = os.path.join(directory, name, "bin", "python")
            if re.fullmatch(r"3\.\d+\.\d+t?", name) and os.access(executable, os.X_OK):
                found.add((name.rstrip("t"), executable))
    return sorted(found, key=lambda each: _numbers(each[0]), reverse=True)


def _manager_roots() -> list[tuple[str, str]]:
    return [
        (os.path.expanduser(os.environ.get(variable) or usual), versions)
        for variable, usual, versions in _MANAGERS
    ]


def _without_shims() -> dict[str, str | None]:
    """
    Return the variables with which uv does not look at the shims of version managers.

    Each takes a process to say what its version is, or that it has none at the moment;
    what they lead to is in the managers' own directories.
    """
    shims = {os.path.join(root, "shims") for root, _ in _manager_roots()}
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [place for place in places if place.rstrip("/") not in shims]
    return {"PATH": os.pathsep.join(kept)}


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
    List the versions of the Pythons that there are and that a worker runs on.
    """
    from fal_env_virtualenv.tools import ask, uv_command

    command = [*uv_command(), "python", "list", "--only-installed"]
    _, output = ask(command, variables=_without_shims())
    found = re.findall(r"^cpython-(\d+\.\d+\.\d+)-", output, re.MULTILINE)
    managed = [version for version, _ in _managed()]
    versions = {*found, *managed, running_python().version}
    return sorted(filter(_is_usable, versions), key=_numbers)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
