"""
Choosing the Python of an environment, by what its requirements are written for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from fal_core.errors import OptionError
from fal_uv.installing.interpreters import PythonNotInstalled, installed_versions
from fal_uv.requirements.python_bounds import allows, are_valid, bounds_in, is_bounds
from fal_uv.requirements.pythons import running_python

#: The file in which a project says which Python it has.
_PIN = ".python-version"


def choose_python(entries: Iterable[str], version: str | None) -> str | None:
    """
    Return the version of Python for an environment with *entries*: *version* if that is one,
    else one of this machine that fits. None stands for that of the running Python.

    Arguments:
        entries: Files and directories that may say which Python they are written for.

        version: As it is declared: a version, bounds as in ``>=3.12``, or the path of a
            file ``.python-version``.

    Raises:
        OptionError: The file says none, or a ``requires-python`` excludes *version*.

        UnknownNameError: No Python of this machine fits.
    """
    if version is not None and os.path.basename(version) == _PIN:
        version = _read_pin(version)
    bounds = bounds_in(entries)
    if version is not None and not is_bounds(version):
        _check(bounds, version)
        return version
    wanted = [each for _, each in bounds if are_valid(each)]
    if version is None and (not wanted or allows(wanted, running_python().version)):
        return None
    if version is not None and not are_valid(version):
        raise OptionError(
            f"Option 'python_version' has bounds that are none: {version!r}. Write them as in "
            "'>=3.12'."
        )
    return _choose([*filter(None, [version]), *wanted])


def _choose(bounds: list[str]) -> str:
    running = running_python()
    if allows(bounds, running.version):
        return f"{running.minor_version}{'t' if running.is_free_threaded else ''}"
    known = installed_versions()
    # Bounds are about the usual builds.
    installed = [each for each in known if not each.endswith("t")]
    fitting = [each for each in installed if allows(bounds, each)]
    if not fitting:
        raise PythonNotInstalled.among(known, ",".join(dict.fromkeys(bounds)))
    minor = ".".join(fitting[-1].split(".")[:2])
    same = [each for each in installed if each.startswith(f"{minor}.")]
    return minor if set(same) <= set(fitting) else fitting[-1]


def _read_pin(path: str) -> str:
    place = os.path.abspath(os.path.expanduser(path))
    try:
        with open(place, encoding="utf-8") as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except (OSError, UnicodeError) as error:
        raise OptionError(f"Option 'python_version' names {place}: {error}.") from error
    written = next(filter(None, lines), "")
    version = written.removeprefix("cpython").lstrip("@-")
    if not is_bounds(version) and re.fullmatch(r"3(\.\d+){0,2}t?", version) is None:
        raise OptionError(
            f"{place} says {written!r}, which is no version of CPython 3 as in '3.12'."
        )
    return version


def pin_of(project: str) -> str | None:
    """
    Return the path of the ``.python-version`` in the directory of a project, if it has one.
    """
    path = os.path.join(project, _PIN)
    return path if os.path.isfile(path) else None


def _check(bounds: Iterable[tuple[str, str]], declared: str) -> None:
    version = declared.strip().rstrip("t")
    for path, each in bounds:
        if are_valid(each) and not allows([each], version):
            raise OptionError(
                f"Requirement {path!r} requires Python {each}, and the environment has "
                f"{version}. Ask for another Python with python_version."
            )
