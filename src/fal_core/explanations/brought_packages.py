"""Packages that others bring: what is installed with a package because it requires that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fal_core.options import canonical_name, requirement_name


def brought_packages(requirements: Iterable[str]) -> tuple[set[str], bool]:
    """
    Return the packages that *requirements* bring, their own included, and whether that is all.

    It is not all where one of them is not installed here, so that what it requires in turn is
    unknown. Markers other than those of extras are taken to hold if the package is installed.
    """
    found: set[str] = set()
    seen: set[tuple[str, tuple[str, ...]]] = set()
    complete = True
    waiting = [(requirement_name(each), _extras(each), False) for each in requirements]
    while waiting:
        name, extras, perhaps = waiting.pop()
        found.add(name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        required = _required(name)
        complete = complete and (required is not None or perhaps)
        for each in required or ():
            specifier, _, marker = each.partition(";")
            wanted = [canonical_name(extra) for extra in re.findall(_EXTRA, marker)]
            if not wanted or not set(wanted).isdisjoint(extras):
                waiting.append((requirement_name(specifier), _extras(specifier), bool(marker)))
    return found, complete


_EXTRA = r"""extra\s*==\s*["']([^"']+)["']"""


def _extras(requirement: str) -> tuple[str, ...]:
    listed = re.match(r"[^\[;@]*\[([^\]]*)\]", requirement)
    return tuple(sorted(_split(listed[1]))) if listed else ()


def _split(names: str) -> Iterator[str]:
    return (canonical_name(name.strip()) for name in names.split(",") if name.strip())


def _required(name: str) -> list[str] | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution(name).requires or []
    except (PackageNotFoundError, ValueError):
        return None
