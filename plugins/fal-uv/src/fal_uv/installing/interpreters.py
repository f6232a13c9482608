"""
Finding a Python of the version that a declaration asks for.

What only a search needs is imported by the search.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from threading import Lock

import attrs

from fal_core.environments import OLDEST_PYTHON
from fal_core.errors import FalCoreError, OptionError, UnknownNameError
from fal_uv.requirements.pythons import Python, running_python, version_numbers

_VERSION = r"3(\.\d+){0,2}t?"
_PROBE = (
    "import sys; print(getattr(sys, '_base_executable', None) or sys.executable,"
    "'.'.join(map(str, sys.version_info[:3])), sys.implementation.name,"
    "getattr(sys, 'abiflags', ''), sep='\\n')"
)
#: For each manager, the variable that names its directory, the default, and the
#: directory in it that has a directory for each version.
_MANAGERS = (
    ("PYENV_ROOT", "~/.pyenv", "versions"),
    ("ASDF_DATA_DIR", "~/.asdf", "installs/python"),
    ("MISE_DATA_DIR", "~/.local/share/mise", "installs/python"),
)


class PythonNotInstalled(UnknownNameError):
    """No Python of a version, or within bounds, is installed."""

    @classmethod
    def among(cls, known: Iterable[str], version: str) -> PythonNotInstalled:
        """Return the error for *version*, where the versions *known* are installed."""
        return cls("Python version", version, tuple(known))

    def __str__(self) -> str:
        found = ", ".join(self.known) or "none"
        quoted = self.name if re.fullmatch(r"[\w.]+", self.name) else f"'{self.name}'"
        return (
            f"Python {self.name} is not installed. Found: {found}. "
            f"`uv python install {quoted}` installs one."
        )


_found: dict[tuple[str, str], Python] = {}
_finding = Lock()


def check_version(version: str) -> None:
    """
    Check the option ``python_version``.

    Raises:
        OptionError: *version* is not a version of Python 3, or too old for a worker.
    """
    if re.fullmatch(_VERSION, version.strip()) is None:
        raise OptionError(
            "Option 'python_version' must be a version of Python 3, as in '3.11', "
            f"not {version!r}. {_describe_installed()}"
        )
    if not _runs_worker(version.strip()):
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise OptionError(
            f"Option 'python_version' must be {oldest} or newer, which a worker needs, "
            f"not {version!r}. {_describe_installed()}"
        )


def find_python(version: str | None, root: str) -> Python:
    """
    Return an interpreter of *version*: the running one if it fits.

    The result is kept below *root*, so that later processes need not search.

    Raises:
        UnknownNameError: There is none; the error lists the installed versions.
    """
    running = running_python()
    if version is None or running.fits(version):
        return running
    with _finding:
        known = _found.get((root, version))
        if known is None or not os.access(known.executable, os.X_OK):
            known = _read(version, root) or _search(version, root)
            _found[root, version] = known
        return known


def installed_versions() -> list[str]:
    """
    Return the versions of the installed Pythons that run a worker, in ascending order; those
    of free-threaded builds end in ``t``.
    """
    from fal_uv.running.uv import ask, uv_command

    command = [*uv_command(), "python", "list", "--only-installed"]
    _, output = ask(command, variables={"PATH": path_without_shims()})
    listed = re.findall(r"(?m)^cpython-(\d+\.\d+\.\d+)(\+freethreaded)?-", output)
    found = [f"{version}t" if threads else version for version, threads in listed]
    managed = [version for version, _ in managed_pythons()]
    running = running_python()
    here = f"{running.version}t" if running.is_free_threaded else running.version
    versions = filter(_runs_worker, {*found, *managed, here})
    return sorted(versions, key=lambda version: (version_numbers(version), version))


def probe(executable: str) -> Python:
    """
    Start *executable*, and return the Python that it is or that its environment is made from.

    Raises:
        OptionError: It does not start.
    """
    from fal_uv.running.uv import ask

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


def _runs_worker(version: str) -> bool:
    # A version without its minor number stands for the newest one that is installed.
    numbers = version_numbers(version)
    return len(numbers) < 2 or tuple(numbers) >= OLDEST_PYTHON


def _describe_installed() -> str:
    try:
        return f"Installed: {', '.join(installed_versions())}."
    except FalCoreError:
        # uv is not installed. That is not what this message is about.
        return f"Installed: {running_python().version}."


def _kept_in(root: str) -> str:
    return os.path.join(root, "pythons.json")


def _read(version: str, root: str) -> Python | None:
    """Return what an earlier search found, if that interpreter has not changed."""
    from fal_uv.running.program_answers import read_answer

    try:
        answer = read_answer(_kept_in(root), version)
        return None if answer is None else Python(**answer)
    except TypeError:
        return None


def _search(version: str, root: str) -> Python:
    from fal_uv.running.program_answers import keep_answer

    python = _ask_uv(version) or _search_managers(version)
    if python is None:
        raise PythonNotInstalled.among(installed_versions(), version)
    try:
        answer = attrs.asdict(python)
        keep_answer(_kept_in(root), version, answer, program=python.executable)
    except OSError:
        pass  # The cache cannot be written, so the next process searches again.
    return python


def _ask_uv(version: str) -> Python | None:
    from fal_uv.running.uv import ask, uv_command

    command = [*uv_command(), "python", "find", "--system", "--no-project", version]
    code, output = ask(command, variables={"PATH": path_without_shims()})
    return probe(output.strip().splitlines()[-1]) if code == 0 else None


def _search_managers(version: str) -> Python | None:
    """Return the newest Python of *version* that a version manager keeps."""
    for managed, executable in managed_pythons():
        threads = "t" if managed.endswith("t") else ""
        named = Python(executable=executable, version=managed.rstrip("t"), abiflags=threads)
        if named.fits(version):
            try:
                python = probe(executable)
            except OptionError:
                continue  # It is broken.
            if python.fits(version):
                return python
    return None


def managed_pythons() -> list[tuple[str, str]]:
    """
    Return the versions and paths of the Pythons of version managers, the newest first. Those
    of free-threaded builds end in ``t``.

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
                found.add((name, executable))
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
