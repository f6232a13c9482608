"""
Requirements that name files: an entry that is the name of a file stands for that file, and
one that is the name of a project's directory for that project.

Package indexes have packages with names such as ``script.py``, which anybody may register.
So such an entry reaches an environment as a path, or it is refused here, for any
kind of environment.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fal_core.errors import OptionError

#: The options that hold requirements, of any kind of environment.
OPTIONS = ("requirements", "pip")

#: The requirement that stands for the file which a function is written in: for what the block
#: in it, which begins with this line, says that it requires. Type checkers take it where a
#: list of requirements stands, and in one.
SCRIPT: Any = "# /// script"

#: How a name without versions ends if it is that of a file, present or not.
_ENDINGS = (
    *(".py", ".ipynb", ".txt", ".in", ".toml", ".cfg", ".ini", ".lock", ".json"),
    *(".yml", ".yaml", ".whl", ".zip", ".tar", ".gz", ".bz2", ".xz"),
)
#: Packages that many programs require, and whose names end like those of files.
_PACKAGES = ("discord-py", "ruamel-yaml", "web-py")
_LOCKS = re.compile(r".+\.lock")
_PYLOCKS = re.compile(r"pylock(\.[^.]+)?\.toml")
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
        elif isinstance(value, str) and value == SCRIPT:
            _with_path(value)
    return found


def names_script(written: Mapping[str, Any]) -> bool:
    """Tell whether the options *written* have :data:`SCRIPT` among their requirements."""
    return any(_has_script(written.get(option)) for option in OPTIONS)


def with_script(written: Mapping[str, Any], func: Callable[..., Any] | None) -> dict[str, Any]:
    """
    Return the options *written*, with the file of *func* for each :data:`SCRIPT`.

    Arguments:
        func: A function or a class. None leaves each out, for a look at the other options.

    Raises:
        OptionError: *func* is not written in a file, or the file says nothing.
    """
    found = dict(written)
    for option in OPTIONS:
        value: Any = found.get(option)
        if not _has_script(value):
            continue
        found[option] = [
            replaced
            for each in ([value] if isinstance(value, str) else value)
            for replaced in _replace_script(each, func)
        ]
    return found


def _has_script(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_script, value))
    return isinstance(value, str) and value == SCRIPT


def _replace_script(entry: Any, func: Callable[..., Any] | None) -> list[Any]:
    if isinstance(entry, (list, tuple)):
        return [[replaced for each in entry for replaced in _replace_script(each, func)]]
    if entry != SCRIPT:
        return [entry]
    return [] if func is None else [script_of(func)]


def script_of(func: Callable[..., Any]) -> str:
    """
    Return the path of the file that *func* is written in, which says what it requires.

    Raises:
        OptionError: There is no such file, or it says nothing.
    """
    path = file_of(func)
    name = getattr(func, "__name__", "function")
    if path is None:
        raise OptionError(
            f"Requirement SCRIPT stands for the file of {name!r}, which is not written in a "
            "file. List what it requires."
        )
    if inline_metadata(path) is None:
        raise OptionError(
            f"Requirement SCRIPT stands for {path}, which does not say what it requires. Add "
            "a block '# /// script' with its dependencies to it, or list them here."
        )
    return path


def file_of(func: Callable[..., Any]) -> str | None:
    """Return the absolute path of the file that the function or class *func* is written in."""
    module = sys.modules.get(getattr(func, "__module__", None) or "")
    code = getattr(getattr(func, "__wrapped__", func), "__code__", None)
    for found in (getattr(module, "__file__", None), getattr(code, "co_filename", None)):
        if isinstance(found, str) and found.endswith(".py") and os.path.isfile(found):
            return os.path.abspath(found)
    return None


def _with_path(entry: Any) -> Any:
    if isinstance(entry, (list, tuple)):
        return [_with_path(each) for each in entry]
    if not isinstance(entry, str):
        return entry
    if entry == SCRIPT:
        raise OptionError(
            "Requirement SCRIPT stands for the file of a function, and no function is known "
            "here. Name the file."
        )
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
    if _PYLOCKS.fullmatch(name):
        return
    if name.endswith(".py"):
        if inline_metadata(path) is not None:
            return
        what = "is a program that does not say what it requires"
        remedy = "Add a block '# /// script' with its dependencies to it, or list them here"
    elif _LOCKS.fullmatch(name):
        what = "is a lock file, which cannot be read here"
        remedy = f"Export it as a pylock.toml, and name that{_exporting(name)}"
    elif name.endswith((".yml", ".yaml")):
        what = "is a YAML file, as conda environments are described in, and no list"
        remedy = f"Write @function('conda', env_yml={entry.removeprefix('-r ')!r})"
    elif is_list:
        return
    else:
        what = "names a file, and its name does not say that it lists requirements"
        remedy = f"Write '-r {entry}' if it does, or '{entry}>=0' if you mean a package"
    raise OptionError(f"Requirement {entry!r} {what}: {path}. {remedy}.")


def _exporting(name: str) -> str:
    if name != "uv.lock":
        return ""
    return ", or write project='.' for the project that it is of"


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
    if _PYLOCKS.fullmatch(os.path.basename(path)) or path.endswith(os.sep + "uv.lock"):
        return re.findall(r"""^name\s*=\s*["']([^"'\n]+)["']""", _text_of(path), re.MULTILINE)
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
