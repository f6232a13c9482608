"""
What settles more than names and versions: locks, projects of uv, and programs with settings.

Such an entry says from where its packages come, and often which files they are. uv makes
a ``pylock.toml`` of it, and installs what that says.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from fal_core.declaring import inline_metadata
from fal_core.errors import OptionError
from fal_core.reprs import show_fields

Form = Literal["lock", "script", "project"]

#: Settings of uv, in programs, with which versions are chosen: all of them count.
_CHOOSING = (
    *("index", "index-url", "extra-index-url", "find-links", "no-index", "index-strategy"),
    *("exclude-newer", "exclude-newer-package", "sources", "no-sources", "resolution"),
    *("prerelease", "fork-strategy", "constraint-dependencies", "override-dependencies"),
    *("exclude-dependencies", "dependency-metadata", "environments", "required-environments"),
)
#: Those of them that are about locks for many machines alone.
_OF_LOCKS = ("environments", "required-environments", "fork-strategy")
#: Settings of uv, in projects, that say how files are made and installed.
_INSTALLING = (
    *("no-build-isolation", "no-build-isolation-package", "config-settings"),
    *("config-settings-package", "no-binary", "no-binary-package", "no-build"),
    *("no-build-package", "extra-build-dependencies", "extra-build-variables"),
    "build-constraint-dependencies",
)
_LOCKED = r"""pylock(\.[^.]+)?\.toml"""
#: Where a lock names a file or directory of this machine.
_PATH = r"""(?<![\w.-])path\s*=\s*(["'])(?P<path>[^"'\n]+)\1(?P<rest>[^}\n]*)"""
_MEMBER = r"""source = \{ (editable|directory|path) = "([^"\n]+)" \}"""


@attrs.frozen(kw_only=True)
class Settled:
    """
    A lock, a project or a program that settles what is installed.

    Attributes:
        path: Of the file, or of the directory of the project.

        groups: Groups of dependencies of the project, beside its own dependencies.

        extras: Optional dependencies of the project.

        frozen: Whether the lock of the project is used though ``pyproject.toml`` may have
            changed since.

        editable: Whether the sources of the project, and of those that it needs, are read in
            place.
    """

    __repr__ = show_fields

    form: Form
    path: str
    groups: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    frozen: bool = False
    editable: bool = True

    @property
    def lock(self) -> str | None:
        """The path of the lock, if there is one."""
        if self.form == "lock":
            return self.path
        if self.form == "script":
            return f"{self.path}.lock" if os.path.isfile(f"{self.path}.lock") else None
        return find_lock(self.path)

    def files(self) -> Iterator[str]:
        """
        Yield the files that say what is installed. A program is none of them: the block in
        it alone counts.
        """
        if (lock := self.lock) is not None:
            yield lock
        if self.form == "project":
            yield os.path.join(self.path, "pyproject.toml")

    def directories(self) -> Iterator[tuple[str, bool]]:
        """
        Yield the projects of this machine that are installed, each with whether it is
        editable.
        """
        if self.form == "script":
            yield from _sources_of(self.path)
        elif (lock := self.lock) is not None:
            try:
                with open(lock, encoding="utf-8", errors="replace") as stream:
                    text = stream.read()
            except OSError:
                return  # The build says why.
            folder = os.path.dirname(lock)
            if self.form == "project":
                for form, path in re.findall(_MEMBER, text):
                    in_place = self.editable and form == "editable"
                    yield os.path.normpath(os.path.join(folder, path)), in_place
                return
            for found in re.finditer(_PATH, text):
                path = os.path.normpath(os.path.join(folder, found["path"]))
                yield path, re.search(r"editable\s*=\s*true", found["rest"]) is not None

    def indexes(self) -> list[str]:
        """Return the indexes that the program or project names, as ``name=URL`` or as URLs."""
        if self.form == "lock":
            return []
        settings = settings_of(self)
        named = settings.get("index")
        listed = named if isinstance(named, list) else []
        found = [_index(each) for each in listed if isinstance(each, dict) and "url" in each]
        extra = settings.get("extra-index-url")
        return [*found, *(extra if isinstance(extra, list) else [])]


def _index(written: Mapping[str, Any]) -> str:
    return f"{written['name']}={written['url']}" if "name" in written else str(written["url"])


def is_lock(path: str) -> bool:
    """Tell whether *path* has the name of a ``pylock.toml``."""
    return re.fullmatch(_LOCKED, os.path.basename(path)) is not None


def settled_file(path: str) -> Settled | None:
    """
    Return the file *path* if it settles what is installed: a lock, a program with settings of
    uv, or one with a lock beside it. Else None.

    Raises:
        OptionError: It says what cannot be honoured.
    """
    if is_lock(path):
        return Settled(form="lock", path=path)
    if os.path.basename(path) == "pyproject.toml":
        _check_listed_project(path)
    if not path.endswith(".py"):
        return None
    found = parse_toml(inline_metadata(path) or "", path)
    _check_block(found, path)
    settings = table(found, "tool", "uv")
    if not settings and not os.path.isfile(f"{path}.lock"):
        return None
    _refuse(settings.keys() - {*_CHOOSING}, path, "is not honoured here")
    return Settled(form="script", path=path)


def of_project(
    path: str, *, groups: tuple[str, ...], extras: tuple[str, ...], frozen: bool, editable: bool
) -> Settled:
    """Return the project at *path*, its directory or its ``pyproject.toml``."""
    if os.path.basename(path) == "pyproject.toml":
        path = os.path.dirname(path)
    return Settled(
        form="project",
        path=path,
        groups=groups,
        extras=extras,
        frozen=frozen,
        editable=editable,
    )


def _check_listed_project(path: str) -> None:
    """
    Check that a ``pyproject.toml``, of which the dependencies alone are installed, has no
    settings that say how they are chosen. Sources, and indexes that they name, hold.
    """
    try:
        settings = table(read_toml(path), "tool", "uv")
    except OptionError:
        return  # uv says what is wrong with it.
    indexes = settings.get("index")
    listed = indexes if isinstance(indexes, list) else []
    named = {
        name
        for name in settings.keys() & ({*_CHOOSING} - {"sources", *_OF_LOCKS})
        if name != "index"
        or not all(isinstance(each, dict) and each.get("explicit") for each in listed)
    }
    _refuse(
        named,
        path,
        "does not hold for its dependencies alone. Name the project with project='.', or leave "
        "it out",
        end="",
    )


def check_project(settled: Settled) -> None:
    """
    Check that the project *settled* has a lock of uv, and its groups and extras.

    Raises:
        OptionError: One of them is not there, or a setting cannot be honoured.
    """
    file = os.path.join(settled.path, "pyproject.toml")
    if not os.path.isfile(file):
        raise OptionError(
            f"Option 'project' names {settled.path}, which has no pyproject.toml."
        )
    found = read_toml(file)
    if settled.lock is None:
        raise OptionError(
            f"Option 'project' names {settled.path}, which has no uv.lock. Run 'uv lock' there."
        )
    _check_names("groups", settled.groups, table(found, "dependency-groups"), file)
    optional = table(found, "project", "optional-dependencies")
    _check_names("extras", settled.extras, optional, file)
    settings = settings_of(settled)
    _refuse(settings.keys() & {*_INSTALLING}, file, "is not honoured with project=")


def settings_of(settled: Settled) -> dict[str, Any]:
    """Return the settings of uv that *settled* has, or the workspace that it is in."""
    if settled.form == "script":
        block = parse_toml(inline_metadata(settled.path) or "", settled.path)
        return table(block, "tool", "uv")
    lock = find_lock(settled.path)
    root = settled.path if lock is None else os.path.dirname(lock)
    file = os.path.join(root, "pyproject.toml")
    return table(read_toml(file), "tool", "uv") if os.path.isfile(file) else {}


def find_lock(path: str) -> str | None:
    """Return the ``uv.lock`` of the project in *path*, or of the workspace around it."""
    while True:
        lock = os.path.join(path, "uv.lock")
        if os.path.isfile(lock):
            return lock
        above = os.path.dirname(path)
        if above == path:
            return None
        path = above


def with_absolute_paths(text: str, folder: str) -> str:
    """Return the *text* of a lock with the paths in it below *folder* made absolute."""

    def absolute(found: re.Match[str]) -> str:
        path = os.path.normpath(os.path.join(folder, found["path"]))
        return f'path = "{path}"{found["rest"]}'

    return re.sub(_PATH, absolute, text)


def locked_names(text: str) -> list[str]:
    """Return the names of the packages in the *text* of a lock."""
    return list(_names_of(_packages(text)))


def local_names(text: str) -> list[str]:
    """
    Return the names of those packages in the *text* of a lock that are directories of this
    machine.
    """
    local = r"(?m)^(\[packages\.)?directory\b"
    return list(_names_of(block for block in _packages(text) if re.search(local, block)))


def _packages(text: str) -> list[str]:
    return re.split(r"(?m)^\[\[packages\]\]", text)[1:]


def _names_of(blocks: Iterable[str]) -> Iterator[str]:
    """
    Yield the name of each package. Those in tables of its own, as its dependencies, come
    after it.
    """
    for block in blocks:
        if (found := re.search(r"""(?m)^name\s*=\s*["']([^"'\n]+)["']""", block)) is not None:
            yield found[1]


def _check_block(found: Mapping[str, Any], path: str) -> None:
    _refuse(found.keys() - {"dependencies", "requires-python", "tool"}, path, "is unknown", "")


def _refuse(
    names: Iterable[str],
    path: str,
    why: str,
    where: str = "tool.uv.",
    *,
    end: str = ". Leave it out",
) -> None:
    named = sorted(names)
    if named:
        raise OptionError(f"{where}{named[0]} in {path} {why}{end}.")


def _check_names(
    option: str, given: Iterable[str], there: Mapping[str, Any], file: str
) -> None:
    from packaging.utils import canonicalize_name

    known = {canonicalize_name(name) for name in there}
    for name in given:
        if canonicalize_name(name) not in known:
            listed = ", ".join(sorted(there)) or "none"
            raise OptionError(
                f"Option {option!r} names {name!r}, which {file} does not have. It has: "
                f"{listed}."
            )


def _sources_of(path: str) -> Iterator[tuple[str, bool]]:
    """Yield the projects and files that a program takes from this machine."""
    block = parse_toml(inline_metadata(path) or "", path)
    for source in table(block, "tool", "uv", "sources").values():
        for each in source if isinstance(source, list) else [source]:
            if isinstance(each, dict) and isinstance(each.get("path"), str):
                place = os.path.join(os.path.dirname(path), os.path.expanduser(each["path"]))
                yield os.path.normpath(place), each.get("editable") is True


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: str) -> dict[str, Any]:
    """
    Return what is in the file *path*.

    Raises:
        OptionError: It cannot be read, or is no TOML.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeError) as error:
        raise OptionError(f"{path} cannot be read: {error}.") from error
    return parse_toml(text, path)


def parse_toml(text: str, path: str) -> dict[str, Any]:
    """
    Return what the *text* in the file *path* says.

    Raises:
        OptionError: It is no TOML.
    """
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{path} is not valid TOML: {error}.") from error
    return found


def table(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the table at *names* in what was *found*; empty where there is none."""
    for name in names:
        inner = found.get(name)
        if not isinstance(inner, dict):
            return {}
        found = inner
    return found
