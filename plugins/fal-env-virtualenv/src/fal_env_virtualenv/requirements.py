"""
Requirements: what an entry of the option ``requirements`` may say.

An entry is one of these; paths are made absolute where the entry is written::

    numpy>=2 ; python_version < "3.13"      a package of the index
    tool @ git+https://…                    a package at an address, also git+… alone
    ./project    ./wheels/tool-1.0.whl      a local project or distribution
    -e ./project                            a local project, installed editable
    requirements.txt    -r requirements.txt the requirements in a file
    pyproject.toml                          the dependencies of a project
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Literal

import attrs

from fal_core.errors import OptionError, OptionTypeError
from fal_core.reprs import show_fields

Form = Literal["index", "address", "path", "editable", "file"]
Layers = tuple[tuple[str, ...], ...]

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\]"
_VERSION = r"(?:~=|===|==|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_VERSIONS = rf"{_VERSION}(?:\s*,\s*{_VERSION})*\s*,?"
# They are compiled where they are used: it takes as long as what they do.
_INDEX = rf"({_NAME})\s*(?:{_EXTRAS})?\s*(?:{_VERSIONS}|\(\s*{_VERSIONS}\s*\))?\s*(?:;\s*\S.*)?"
_ADDRESS = rf"(?:({_NAME})\s*(?:{_EXTRAS})?\s*@\s*)?([a-z][a-z0-9+.-]*:\S.*)"
_FLAG = r"(-r|--requirements?|-e|--editable)(?:\s+|=|(?<=-[re])(?=\S))(\S.*)"
_EXTRAS_BEHIND = rf"(.*?)\s*({_EXTRAS})"
_DISTRIBUTIONS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz")


@attrs.frozen(kw_only=True)
class Requirement:
    """
    One entry, understood.

    Attributes:
        text: The entry with its path made absolute.

        name: Of the package, where the entry says it, as the index spells it.

        path: The file or directory it refers to, without extras.
    """

    __repr__ = show_fields

    text: str
    form: Form
    name: str | None = None
    path: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """
        The entry as arguments of ``uv pip install``.
        """
        if self.form in ("editable", "file"):
            flag, _, rest = self.text.partition(" ")
            return (flag, rest)
        return (self.text,)


def normalise_name(name: str) -> str:
    """
    Return *name* as the index compares it.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def parse(entry: str) -> Requirement:
    """
    Understand one *entry*.

    Raises:
        OptionError: It is not a requirement, or names a path that is not there.
    """
    text = entry.strip()
    if not text or "\n" in text or "\0" in text:
        raise OptionError(f"Requirement {entry!r} must be one line that is not empty.")
    if text.startswith("-"):
        return _flagged(text)
    if ":" in text and (address := re.fullmatch(_ADDRESS, text)) is not None:
        return _addressed(text, *address.groups())
    if _looks_like_path(text):
        return _local(text, editable=False)
    if (index := re.fullmatch(_INDEX, text)) is not None:
        return Requirement(text=text, form="index", name=normalise_name(index[1]))
    hint = " Write '==' for one version." if re.search(r"[^=<>!~]=[^=]", text) else ""
    raise OptionError(
        f"Requirement {entry!r} cannot be understood.{hint or _after_name(text)} "
        "It must be a name with versions, as in 'numpy>=2', an address, or a path, "
        "as in './project'."
    )


def _after_name(text: str) -> str:
    name = re.match(_NAME, text)
    if name is None:
        return " It does not begin with a name."
    return f" What follows {name[0]!r} is no version." if text[name.end() :] else ""


def _flagged(text: str) -> Requirement:
    flag = re.fullmatch(_FLAG, text)
    if flag is None:
        raise OptionError(
            f"Requirement {text!r} is a flag. Those that can be used here are '-r FILE' and "
            "'-e PROJECT'; write others into a requirements file."
        )
    if flag[1] in ("-e", "--editable"):
        if "://" in flag[2]:
            raise OptionError(
                f"Requirement {text!r} must name a local project: what is at an address "
                "cannot be edited. Leave out the flag."
            )
        return _local(flag[2], editable=True)
    return _requirements_file(flag[2])


def _addressed(text: str, name: str | None, address: str) -> Requirement:
    scheme = address.partition(":")[0]
    vcs, plus, _ = scheme.partition("+")
    if plus and vcs != "git":
        raise OptionError(
            f"Requirement {text!r} uses {vcs!r}, and only git is understood: write 'git+https://…'."
        )
    path = None
    if scheme == "file":
        from urllib.parse import unquote, urlsplit

        path = _existing(unquote(urlsplit(address.partition(";")[0].strip()).path), text)
    known = normalise_name(name) if name else None
    return Requirement(text=text, form="address", name=known, path=path)


def _looks_like_path(text: str) -> bool:
    plain = re.sub(rf"\s*{_EXTRAS}\s*$", "", text.partition(";")[0])
    return (
        text.startswith((".", "~"))
        or os.sep in plain
        or plain.strip().endswith((*_DISTRIBUTIONS, ".txt", "pyproject.toml"))
    )


def _local(text: str, *, editable: bool) -> Requirement:
    if text.endswith((".txt", "pyproject.toml")) and not editable:
        return _requirements_file(text)
    plain, extras = text, ""
    if (match := re.fullmatch(_EXTRAS_BEHIND, text)) is not None:
        plain, extras = match.groups()
        if plain.endswith("pyproject.toml"):
            flag, project = "-e " if editable else "", os.path.dirname(plain) or "."
            raise OptionError(
                f"Requirement {text!r} asks a file for extras. Name the project itself: "
                f"write {f'{flag}{project}{extras}'!r}."
            )
    path = _existing(plain, text)
    if editable and not os.path.isdir(path):
        raise OptionError(f"Requirement '-e {text}' must name the directory of a project.")
    if os.path.isdir(path) and not _is_project(path):
        raise OptionError(
            f"Requirement {text!r} names the directory {path}, which holds neither a "
            "pyproject.toml nor a setup.py."
        )
    if editable:
        return Requirement(text=f"-e {path}{extras}", form="editable", path=path)
    return Requirement(text=f"{path}{extras}", form="path", path=path)


def _is_project(path: str) -> bool:
    return any(
        os.path.exists(os.path.join(path, name)) for name in ("pyproject.toml", "setup.py")
    )


def _requirements_file(text: str) -> Requirement:
    path = _existing(text, text)
    if os.path.isdir(path):
        raise OptionError(
            f"Requirement '-r {text}' must name a file, and {path} is a directory."
        )
    return Requirement(text=f"-r {path}", form="file", path=path)


def _existing(plain: str, text: str) -> str:
    path = os.path.abspath(os.path.expanduser(plain))
    if not os.path.exists(path):
        raise OptionError(f"Requirement {text!r} names {path}, and there is no such path.")
    return path


def absolute(
    requirements: Iterable[str] | Iterable[Iterable[str]],
) -> tuple[str, ...] | Layers:
    """
    Return *requirements*, checked, with their paths made absolute.

    They are entries, or layers of entries that are installed one after another.

    Raises:
        OptionError: An entry is wrong; it is named.
    """
    if isinstance(requirements, str):
        raise OptionTypeError("requirements", f"{requirements!r} (str)", "a list of str")
    entries = list(requirements)
    if all(isinstance(entry, str) for entry in entries):
        return tuple(parse(entry).text for entry in entries if isinstance(entry, str))
    layers = []
    for index, layer in enumerate(entries):
        if isinstance(layer, str):
            raise OptionTypeError(
                f"requirements[{index}]",
                f"{layer!r} (str)",
                "a list of str, as other entries are",
            )
        layers.append(_layer(layer, index))
    return tuple(layers)


def _layer(layer: Iterable[object], index: int) -> tuple[str, ...]:
    texts = []
    for position, entry in enumerate(layer):
        if not isinstance(entry, str):
            where = f"requirements[{index}][{position}]"
            raise OptionTypeError(where, f"{entry!r} ({type(entry).__name__})", "str")
        texts.append(parse(entry).text)
    return tuple(texts)
