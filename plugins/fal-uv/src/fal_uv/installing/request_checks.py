"""Checks of what is asked for: options that depend on files and on each other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from fal_core.errors import OptionError
from fal_uv.installing.interpreters import PythonNotInstalled, installed_versions
from fal_uv.installing.package_requests import PackageRequest
from fal_uv.requirements.entries import Requirement, check_settled
from fal_uv.requirements.python_bounds import allows, are_valid, bounds_in, is_bounds
from fal_uv.requirements.pythons import running_python
from fal_uv.requirements.settled import check_project

_BACKENDS = r"auto|cpu|xpu|cu\d{2,3}|rocm\d+(\.\d+){0,2}"
_UNITS = "seconds?|minutes?|hours?|days?|weeks?"
#: A date, a time, a duration in words, and one of ISO 8601.
_NEWER = (
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?|"
    rf"\d+ ?({_UNITS})( ago)?|P(\d+[WD])*(T(\d+[HMS])+)?"
)
#: Options that say which versions are chosen, which a lock has done.
_CHOOSING = (
    *("constraints_file", "index_url", "extra_index_urls", "torch_backend", "exclude_newer"),
)


def check_request(request: PackageRequest) -> None:
    """
    Check *request*.

    Raises:
        OptionError: An option is wrong, or two of them are at odds.
    """
    _check_choices(request)
    if request.project is not None:
        check_project(request.project)
    layers = list(request.parsed_layers())
    if request.project is not None and layers[1:]:
        # What is settled may stand in the first layer that is declared.
        layers = [[*layers[0], *layers[1]], *layers[2:]]
    check_settled(layers)
    _check_lock(request, [entry for layer in layers for entry in layer])


def python_of(request: PackageRequest, version: str | None) -> str | None:
    """
    Return the version of a Python of this machine for *request*; None for the running one.

    Arguments:
        version: As it is declared.

    Raises:
        OptionError: *version* is at odds with a file.

        UnknownNameError: No Python of this machine fits.
    """
    if request.project is not None:
        version = version or pin_of(request.project.path)
    return choose_python(files_for_python(request), version)


def files_for_python(request: PackageRequest) -> list[str]:
    """Return the files that may say for which Python they are written."""
    found: list[str] = []
    for entry in request.requirements():
        if entry.settled is not None:
            found += [entry.settled.path, *entry.settled.files()]
        elif entry.form == "file" and entry.path is not None:
            found.append(entry.path)
    return found


def check_torch_backend(backend: str) -> None:
    """
    Check the option ``torch_backend``.

    Raises:
        OptionError: It is none of uv's names.
    """
    if re.fullmatch(_BACKENDS, backend) is None:
        raise OptionError(
            "Option 'torch_backend' must be one of uv's, as in 'auto', 'cpu' or 'cu128', not "
            f"{backend!r}."
        )


def _check_choices(request: PackageRequest) -> None:
    newer = request.exclude_newer
    if request.torch_backend is not None:
        check_torch_backend(request.torch_backend)
    if newer is not None and (newer == "P" or re.fullmatch(_NEWER, newer) is None):
        raise OptionError(
            "Option 'exclude_newer' must be a date, as in '2026-05-01', or how long ago, as in "
            f"'7 days', not {newer!r}."
        )


def _check_lock(request: PackageRequest, entries: Sequence[Requirement]) -> None:
    """Check that options which say what is chosen are not given where a lock says all."""
    if not entries or any(entry.form != "settled" for entry in entries):
        return  # What the lock does not say is chosen.
    for name in _CHOOSING:
        if getattr(request, name):
            raise OptionError(
                f"Option {name!r} changes nothing: {entries[0].text!r} says what is installed. "
                "Leave it out."
            )


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
    """Return the path of the ``.python-version`` in the directory of a project, if it has one."""
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
