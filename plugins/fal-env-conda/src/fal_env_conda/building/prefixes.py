"""
Prefixes: the directories that environments are built in, which is where they stay.

Files of conda packages contain the path of their prefix, so none is moved once it has files.
Beside prefixes, the store has the packages that were chosen::

    <digest>/                 a prefix
    builds/<digest>.json      what was built in the prefix, should it be lost
    solutions/<digest>.json   the packages that were chosen for a question
    machine.json              the virtual packages of this machine
    uv.json                   the index that uv uses if nothing names one
"""

from __future__ import annotations

import json
import os
import re

import attrs

from fal_core.caches import remove_quietly, write_atomically
from fal_core.errors import EnvironmentBuildError
from fal_core.reprs import show_fields
from fal_core.stores import DirectoryStore

#: The kind of environment, as errors name it.
KIND = "conda"

_CONTENTS = ".fal-core-contents.json"


@attrs.frozen(kw_only=True)
class Contents:
    """
    What is in a prefix.

    Attributes:
        python_version: The whole version of its Python.

        path: Directories that its programs find before those of ``PATH``.

        variables: What activating it sets.

        packages: The names of the files in ``conda-meta``.
    """

    __repr__ = show_fields

    python_version: str
    path: tuple[str, ...] = ()
    variables: dict[str, str] = attrs.field(factory=dict)
    packages: tuple[str, ...] = ()

    @property
    def minor_version(self) -> str:
        """As in ``3.11``."""
        return ".".join(self.python_version.split(".")[:2])

    def write(self, prefix: str) -> None:
        """Write this to the directory *prefix*."""
        text = json.dumps(attrs.asdict(self), indent=1)
        write_atomically(os.path.join(prefix, _CONTENTS), text, durable=False)

    @classmethod
    def read(cls, prefix: str) -> Contents | None:
        """Return what is in the directory *prefix*. None if that cannot be read."""
        try:
            with open(os.path.join(prefix, _CONTENTS), encoding="utf-8") as stream:
                loaded = json.load(stream)
            for name in ("path", "packages"):
                loaded[name] = tuple(loaded[name])
            return cls(**loaded)
        except (OSError, ValueError, KeyError, TypeError):
            return None


@attrs.frozen(kw_only=True)
class Built:
    """
    What a lost prefix is built from again.

    Attributes:
        question: What its packages were chosen for.

        pins: What pip requirements brought, as lines of a requirements file.
    """

    __repr__ = show_fields

    question: str
    pins: tuple[str, ...]


class Prefixes(DirectoryStore):
    """The prefixes of this user, and the packages that were chosen for them."""

    def find_fault(self, name: str) -> str | None:
        fault = super().find_fault(name)
        if fault is not None:
            return fault
        prefix = self.path(name)
        contents = Contents.read(prefix)
        if contents is None:
            return "the list of what is in it cannot be read"
        if not os.access(executable_of(prefix), os.X_OK):
            return "its Python is gone"
        try:
            there = set(os.listdir(os.path.join(prefix, "conda-meta")))
        except OSError:
            return "its packages are gone"
        missing = sorted(set(contents.packages) - there)
        return f"{missing[0].removesuffix('.json')} is gone" if missing else None

    def forget(self, key: str, name: str) -> None:
        built = self.read_build(name)
        remove_quietly(self._build_path(name))
        if built is not None:
            self.forget_solution(built.question)

    def forget_solution(self, question: str) -> None:
        """Remove the packages that were chosen for *question*, unless a prefix was built of them."""
        from fal_core.stores import list_directory

        for name in list_directory(os.path.join(self.root, "builds")):
            built = self.read_build(name.removesuffix(".json"))
            if built is not None and built.question == question:
                return
        remove_quietly(self.solution_path(question))

    def read_build(self, name: str) -> Built | None:
        """Return what was built in the prefix *name*. None if nothing was, yet."""
        try:
            with open(self._build_path(name), encoding="utf-8") as stream:
                loaded = json.load(stream)
            return Built(question=loaded["question"], pins=tuple(loaded["pins"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep_build(self, name: str, built: Built) -> None:
        """Keep what was built in the prefix *name*."""
        path = self._build_path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, json.dumps(attrs.asdict(built), indent=1), durable=False)

    def _build_path(self, name: str) -> str:
        return os.path.join(self.root, "builds", f"{name}.json")

    def solution_path(self, question: str) -> str:
        """Return where the packages are kept that were chosen for *question*."""
        return os.path.join(self.root, "solutions", f"{question}.json")


#: What the scripts that activate packages do not quote, or that no program may be started by.
_UNQUOTED = re.compile(r"[\"$`\\\x00-\x1f]")

#: All that is kept.
PREFIXES = Prefixes(folder="conda", kind=KIND)


def check_place() -> None:
    """
    Check that packages can work where prefixes are.

    Raises:
        EnvironmentBuildError: They cannot.
    """
    found = _UNQUOTED.search(PREFIXES.root)
    if found is not None:
        raise EnvironmentBuildError(
            KIND,
            f"Conda packages cannot work in {PREFIXES.root!r}, which has the character "
            f"{found[0]!r}. Name another directory with the variable FAL_CORE_CACHE.",
        )


def executable_of(prefix: str) -> str:
    """Return the Python of the directory *prefix*."""
    return os.path.join(prefix, "bin", "python")


def library_of(prefix: str, python_version: str) -> str:
    """Return where the Python of the directory *prefix* finds packages."""
    minor = ".".join(python_version.split(".")[:2])
    return os.path.join(prefix, "lib", f"python{minor}", "site-packages")
