"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _find_version() -> str:
    try:
        return version("fal-compat")
    except PackageNotFoundError:
        # Where a function runs, this package is there as source alone.
        return "0.0.0"


__version__ = _find_version()
version_tuple: tuple[int | str, ...] = tuple(
    int(each) if each.isdigit() else each for each in __version__.split(".")
)
