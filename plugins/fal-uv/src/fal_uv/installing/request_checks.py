"""
Checks of what is asked for: options that depend on files and on each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fal_core.errors import OptionError
from fal_uv.installing.package_requests import PackageRequest
from fal_uv.installing.python_choices import choose_python, pin_of
from fal_uv.requirements.entries import Requirement, check_settled
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
    """
    Return the files that may say for which Python they are written.
    """
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
    """
    Check that options which say what is chosen are not given where a lock says all.
    """
    if not entries or any(entry.form != "settled" for entry in entries):
        return  # What the lock does not say is chosen.
    for name in _CHOOSING:
        if getattr(request, name):
            raise OptionError(
                f"Option {name!r} changes nothing: {entries[0].text!r} says what is installed. "
                "Leave it out."
            )
