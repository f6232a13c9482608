"""
Misfits: packages of an image whose versions do not go with what is added to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from fal_core.options import canonical_name
from fal_env_container.running.pythons import ImagePython

if TYPE_CHECKING:
    from packaging.requirements import Requirement as Specifier

    from fal_uv.requirements.entries import Requirement


def find_misfits(
    folder: str, python: ImagePython, asked: Iterable[Requirement]
) -> frozenset[str]:
    """
    Return the names of packages that the image has in a version which something in *folder*
    does not work with, and that are not in *folder*.

    Arguments:
        python: The Python of the image, with what it has installed.

        asked: What is in the folder was asked for by these, some perhaps with extras.
    """
    if not python.installed:
        return frozenset()
    added = {
        canonical_name(each.name): tuple(_specifiers(each.requires or ()))
        for each in distributions(path=[folder])
    }
    theirs = {canonical_name(name): version for name, version in python.installed.items()}
    surroundings = _surroundings(python)
    extras: dict[str, set[str]] = {name: {""} for name in added}
    for written in _specifiers(each.text for each in asked if each.form == "index"):
        extras.get(canonical_name(written.name), set()).update(written.extras)
    left, misfits = list(added), set()
    while left:
        name = left.pop()
        for needed in added[name]:
            found = canonical_name(needed.name)
            if not _applies(needed, surroundings, extras[name]):
                continue
            if found not in added:
                if found in theirs and not _fits(needed, theirs[found]):
                    misfits.add(found)
            elif not needed.extras <= extras[found]:
                extras[found] |= needed.extras
                left.append(found)
    return frozenset(misfits)


def _specifiers(texts: Iterable[str]) -> Iterator[Specifier]:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Specifier

    for text in texts:
        try:
            yield Specifier(text)
        except InvalidRequirement:
            continue  # uv has taken it for what it is.


def _surroundings(python: ImagePython) -> dict[str, str]:
    """
    Return what markers of requirements are compared with.
    """
    return {
        "python_version": ".".join(python.version.split(".")[:2]),
        "python_full_version": python.version,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": python.machine,
    }


def _applies(needed: Specifier, surroundings: Mapping[str, str], extras: set[str]) -> bool:
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    if needed.marker is None:
        return True
    try:
        return any(needed.marker.evaluate({**surroundings, "extra": extra}) for extra in extras)
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False


def _fits(needed: Specifier, version: str) -> bool:
    """
    Tell whether *version* of the image is one of those that are *needed*.

    Where an extra is, what it brings may be missing in the image.
    """
    from packaging.version import InvalidVersion

    if needed.url is not None:
        return True  # Which version is there is not known.
    try:
        return not needed.extras and needed.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return not needed.specifier
