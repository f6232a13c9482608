"""Solutions: the packages that rattler chose for a definition, which stay the same afterwards."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import attrs

from fal_core.caches import write_atomically
from fal_core.digests import digest
from fal_core.errors import EnvironmentBuildError
from fal_core.reprs import show_fields
from fal_env_conda.building.prefixes import KIND, PREFIXES

_VERSION = 1

_NAME = re.compile(r"\w[\w.-]*(?:\[[\w.,-]*\])?")
#: What stands for itself in a URL.
_OF_URLS = "%:/?#[]@!&'()*+,;=~"


@attrs.frozen(kw_only=True)
class File:
    """
    A file that uv installs as it is.

    Attributes:
        location: A URL, or a path of this machine.

        sha256: Empty if it is not known.
    """

    name: str
    version: str
    location: str
    sha256: str = ""

    @property
    def pin(self) -> str:
        """
        The line of a requirements file that installs it.

        Raises:
            EnvironmentBuildError: Its name is none.
        """
        if not _NAME.fullmatch(self.name):
            raise EnvironmentBuildError(KIND, f"{self.name!r} is no name of a package.")
        location = self.location
        if "://" not in location:
            location = Path(os.path.abspath(location)).as_uri()
        path = unquote(urlsplit(location).path) if location.startswith("file:") else ""
        # pixi has a digest of a project too, and uv compares those of files alone.
        has_digest = self.sha256 and not os.path.isdir(path)
        digest = f" --hash=sha256:{self.sha256}" if has_digest else ""
        # A channel or a lock says it. uv would put variables in, and take it for two lines.
        location = quote(location, safe=_OF_URLS)
        return f"{self.name} @ {location}{digest}"


@attrs.frozen(kw_only=True)
class Solution:
    """
    The packages of an environment.

    Attributes:
        records: What rattler knows of each, as JSON, the packages it depends on before it.

        virtual_packages: What was known of the machine.

        pins: The files of pip requirements that a lock has.

        made: When they were chosen, in nanoseconds since the epoch, if that was because of
            the option ``force``: then they have a prefix of their own.
    """

    __repr__ = show_fields

    records: tuple[dict[str, Any], ...] = attrs.field(repr=False)
    platform: str
    channels: tuple[str, ...]
    virtual_packages: tuple[str, ...]
    pins: tuple[str, ...] = ()
    made: int | None = None

    @property
    def archives(self) -> tuple[dict[str, Any], ...]:
        """The conda packages, which rattler installs."""
        return tuple(each for each in self.records if not _is_wheel(each))

    @property
    def wheels(self) -> tuple[File, ...]:
        """The wheels of channels, which uv installs."""
        return tuple(_to_file(each) for each in self.records if _is_wheel(each))

    @property
    def explicit(self) -> tuple[str, ...]:
        """The explicit list: a URL for each package, with its digest, in the order of names."""
        return tuple(sorted(f"{each['url']}#{_digest(each)}" for each in self.records))

    @property
    def python_version(self) -> str | None:
        """The whole version of its Python. None if it has none."""
        for each in self.records:
            if each["record"]["name"] == "python":
                return str(each["record"]["version"])
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """Each package with its version, as in ``numpy 2.1``."""
        found = (each["record"] for each in self.records)
        return tuple(sorted(f"{each['name']} {each['version']}" for each in found))


def _is_wheel(record: dict[str, Any]) -> bool:
    return str(record["file_name"]).endswith(".whl")


def _to_file(record: dict[str, Any]) -> File:
    told, url = record["record"], str(record["url"])
    # The distribution may have another name than the package.
    name = url.rpartition("/")[2].partition("-")[0].replace("_", "-")
    return File(
        name=name,
        version=str(told["version"]),
        location=url,
        sha256=str(told.get("sha256") or ""),
    )


def _digest(record: dict[str, Any]) -> str:
    told = record["record"]
    found = told.get("sha256")
    return f"sha256:{found}" if found else str(told.get("md5") or "")


def read_solution(name: str) -> Solution | None:
    """Return the solution of the question *name*. None if there is none that can be read."""
    try:
        with open(PREFIXES.solution_path(name), encoding="utf-8") as stream:
            loaded = json.load(stream)
        if loaded.pop("version") != _VERSION:
            return None
        return Solution(
            records=tuple(loaded.pop("records")),
            channels=tuple(loaded.pop("channels")),
            virtual_packages=tuple(loaded.pop("virtual_packages")),
            pins=tuple(loaded.pop("pins")),
            **loaded,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_solution(name: str, solution: Solution) -> None:
    """Keep *solution* as that of the question *name*."""
    path = PREFIXES.solution_path(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    text = json.dumps({"version": _VERSION, **attrs.asdict(solution, recurse=False)}, indent=1)
    # Should the machine fail meanwhile, the packages are chosen again.
    write_atomically(path, text, durable=False)


def explicit_digest(solution: Solution) -> str:
    """Return a digest of the explicit list."""
    return digest("\n".join((*solution.explicit, *solution.pins)).encode(), 20)
