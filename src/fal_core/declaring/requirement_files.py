"""
Requirements that name files: an entry that is the name of a file stands for that file, and
one that is the name of a project's directory for that project.

Package indexes have packages with names such as ``script.py``, which anybody may register.
So such an entry reaches an environment as a path, or it is refused here, whatever
kind of environment it is for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from fal_core.errors import OptionError

#: The options that hold requirements, of whatever kind of environment.
OPTIONS = ("requirements", "pip")

#: How a name without versions ends if it is that of a file, present or not.
_ENDINGS = (
    *(".py", ".ipynb", ".txt", ".in", ".toml", ".cfg", ".ini", ".lock", ".json"),
    *(".yml", ".yaml", ".whl", ".zip", ".tar", ".gz", ".bz2", ".xz"),
)
#: Packages that many programs require, and whose names end like those of files.
_PACKAGES = ("discord-py", "ruamel-yaml", "web-py")
_LOCKS = re.compile(r"pylock(\..+)?\.toml|.+\.lock|Pipfile\.lock")
#: A list of strings in TOML, of which Python 3.10 has no parser.
_STRING = r"""\"[^\"\n]*\"|'[^'\n]*'"""
_DEPENDENCIES = rf"^\s*dependencies\s*=\s*\[((?:\s|,|#[^\n]*|{_STRING})*)\]"
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
#: The files that make a directory a project.
_PROJECTS = ("pyproject.toml", "setup.py")
_DISTRIBUTIONS = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz")


def with_paths(written: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the options *written* of an environment, with paths for requirements that are files.

    Raises:
        OptionError: An entry names a file or directory that cannot be read as requirements,
            or looks like a file and is none.
    """
    found = dict(written)
    for option in OPTIONS:
        value = found.get(option)
        if isinstance(value, (list, tuple)):
            found[option] = [_with_path(entry) for entry in value]
    return found


def _with_path(entry: Any) -> Any:
    if isinstance(entry, (list, tuple)):
        return [_with_path(each) for each in entry]
    if not isinstance(entry, str):
        return entry
    named = re.match(r"[^\[;]*", entry.strip())
    assert named is not None
    plain = named[0].rstrip()
    # The common case: a name with versions, or an address.
    if not plain or (not os.path.exists(plain) and re.search(r"[<>=!~@:\s]", plain)):
        return entry
    path = os.path.abspath(os.path.expanduser(plain))
    if os.path.isfile(path):
        check_requirement_file(path, plain)
        return path + entry.strip()[named.end() :]
    if plain.startswith((".", "~")) or os.sep in plain:
        return entry
    if os.path.isdir(path):
        if any(os.path.isfile(os.path.join(path, each)) for each in _PROJECTS):
            return path + entry.strip()[named.end() :]
        # Programs leave directories such as ``wandb``; what is installed here is meant.
        if not _is_installed(plain):
            raise OptionError(
                f"Requirement {entry!r} may be a package or the directory {path}, which is "
                f"no project. Write '{plain}>=0' if you mean the package."
            )
    elif plain.lower().endswith(_ENDINGS) and not _is_package(plain):
        raise OptionError(
            f"Requirement {entry!r} looks like a file, and there is no file {path}. Write the "
            f"path of the file, or '{plain}>=0' if you mean the package of that name."
        )
    return entry


def check_requirement_file(path: str, entry: str, *, is_list: bool = False) -> None:
    """
    Check that the file *path*, which *entry* names, can be read as requirements.

    Arguments:
        is_list: Whether the declaration says that it lists requirements.

    Raises:
        OptionError: It is of another kind; the message says what to do.
    """
    name = os.path.basename(path)
    if name in _PROJECT_FILES or name.endswith((*_DISTRIBUTIONS, ".txt", ".in")):
        return
    remedy = "List what it requires here, or in a requirements.txt"
    if name.endswith(".py"):
        if inline_metadata(path) is not None:
            return
        what = "is a program that does not say what it requires"
        remedy = "Add a block '# /// script' with its dependencies to it, or list them here"
    elif _LOCKS.fullmatch(name):
        what = "is a lock file, which cannot be read here"
        remedy = "Export it as a requirements.txt, and name that"
    elif name.endswith((".yml", ".yaml")):
        what = "is a YAML file, as conda environments are described in, and no list"
    elif is_list:
        return
    else:
        what = "names a file, and its name does not say that it lists requirements"
        remedy = f"Write '-r {entry}' if it does, or '{entry}>=0' if you mean a package"
    raise OptionError(f"Requirement {entry!r} {what}: {path}. {remedy}.")


def inline_metadata(path: str) -> str | None:
    """
    Return the TOML text in which the program *path* says what it requires, as PEP 723 has it.

    None if it says nothing.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise OptionError(f"Requirement {path!r} cannot be read: {error.strerror}.") from error
    try:
        begin = lines.index("# /// script") + 1
        end = lines.index("# ///", begin)
    except ValueError:
        return None
    block = lines[begin:end]
    if not all(line == "#" or line.startswith("# ") for line in block):
        return None
    return "".join(f"{line[2:]}\n" for line in block)


def listed_requirements(entry: str) -> list[str]:
    """
    Return the requirements in the file that *entry* names; *entry* if it names none.

    Of what cannot be read here, such as a ``setup.py``, nothing is returned.
    """
    return _listed(entry.strip(), set())


def _listed(entry: str, seen: set[str]) -> list[str]:
    named = re.fullmatch(r"(-r|--requirements?)(?:\s+|=|(?<=-r))(\S.*)", entry)
    path = os.path.expanduser(named[2] if named else entry)
    if not os.path.isfile(path):
        return [entry]
    if path in seen:
        return []
    seen.add(path)
    if path.endswith(_DISTRIBUTIONS):
        return [os.path.basename(path).partition("-")[0]]
    if path.endswith((".toml", ".cfg", ".py")):
        text = inline_metadata(path) or "" if path.endswith(".py") else _text_of(path)
        listed = re.search(_DEPENDENCIES, text, re.MULTILINE)
        return [found[1:-1] for found in re.findall(_STRING, listed[1])] if listed else []
    found: list[str] = []
    for written in _text_of(path).splitlines():
        line = re.sub(r"(^|\s)#.*", "", written).strip()
        other = re.fullmatch(r"(?:-r|--requirement)(?:\s+|=|(?<=-r))(\S.*)", line)
        if other is not None:
            found += _listed(os.path.join(os.path.dirname(path), other[1]), seen)
        elif line and not line.startswith("-"):
            found.append(line)
    return found


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _is_package(name: str) -> bool:
    from fal_core.options import canonical_name

    return canonical_name(name) in _PACKAGES or _is_installed(name)


def _is_installed(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(name)
    except (PackageNotFoundError, ValueError):
        return False
    return True
