"""
Lock files: packages that were chosen before, by ``fal-core env lock`` or by pixi.

They are in the format of rattler, whose versions 6 and 7 are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote

import attrs

from fal_core.errors import OptionError

#: The versions of rattler's format that are read; the last is written.
READ = (6, 7)

_AGAIN = "Make it again with 'pixi lock' or 'fal-core env lock'"


@attrs.frozen(kw_only=True)
class Lock:
    """A lock file."""

    text: str = attrs.field(repr=False)

    @property
    def folders(self) -> frozenset[str]:
        """The URLs of the directories that its conda packages are in."""
        found: Iterable[str] = re.findall(r"^\s*- conda: (\S+)/", self.text, re.MULTILINE)
        return frozenset(found)

    @property
    def projects(self) -> tuple[str, ...]:
        """The paths of local projects."""
        found = re.findall(r"^\s*- pypi: (?:file://)?(/\S*)$", self.text, re.MULTILINE)
        paths = dict.fromkeys(map(unquote, found))
        return tuple(path for path in paths if os.path.isdir(path))

    def below(self, folder: str) -> Lock:
        """Return this lock with the paths of local projects below *folder*."""

        def absolute(match: re.Match[str]) -> str:
            return f"{match[1]}{os.path.normpath(os.path.join(folder, match[2]))}"

        pattern = r"^(\s*- pypi: )(\.{1,2}(?:/\S*)?)$"
        return Lock(text=re.sub(pattern, absolute, self.text, flags=re.MULTILINE))

    def python_version(self, platform: str) -> str | None:
        """Return the minor version of its Python for *platform*. None if it has none."""
        # pixi.lock may have several environments.
        default = re.search(r"^  default:\s*\n((?:    .*\n|\s*\n)*)", self.text, re.MULTILINE)
        text = self.text if default is None else default[1]
        found = re.search(rf"/{re.escape(platform)}/python-(3\.\d+)\.", text)
        return found[1] if found else None


def read_lock(text: str, *, where: str) -> Lock | None:
    """
    Return the lock that *text* is. None if it is none, but may be an environment file.

    Raises:
        OptionError: It is one that is not read; the message begins with *where*.
    """
    if re.search(r"^@EXPLICIT\s*$", text, re.MULTILINE):
        raise OptionError(
            f"{where} is an explicit list, which does not say what its packages need. Name "
            "the lock that was written with it, or an environment.yml."
        )
    stated = re.search(r"^version:\s*(\d+)\s*$", text, re.MULTILINE)
    if stated is None:
        return None
    if re.search(r"^package:", text, re.MULTILINE) and "\nmetadata:" in f"\n{text}":
        raise OptionError(
            f"{where} is a lock of conda-lock, which does not say how its packages are "
            "installed. Name the environment.yml that it was made of, and lock that with "
            "'fal-core env lock'."
        )
    if not re.search(r"^(?:environments|packages):", text, re.MULTILINE):
        return None
    version = int(stated[1])
    if version not in READ:
        age = "older" if version < READ[0] else "newer"
        raise OptionError(
            f"{where} is a lock of version {version}, which is {age} than those that are read: "
            f"{' and '.join(map(str, READ))}. {_AGAIN}."
        )
    return Lock(text=text)
