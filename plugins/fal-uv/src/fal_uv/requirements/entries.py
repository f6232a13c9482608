"""
Requirement entries: what one string in the option ``requirements`` may say, and layers of them.

An entry has one of these forms. Paths are made absolute when the entry is declared::

    numpy>=2 ; python_version < "3.13"      a package from the index
    tool @ git+https://…                    a package at a URL; also a URL alone
    ./project    ./wheels/tool-1.0.whl      a local project or distribution
    -e ./project                            a local project, installed as editable
    requirements.txt    -r requirements.txt the requirements in a file
    pyproject.toml  setup.cfg  setup.py     the dependencies of a project
    script.py                               those of a program, as PEP 723 has them
    pylock.toml                             the files in a lock, as PEP 751 has them
    --extra-index-url URL    --pre          a flag of pip that has a meaning here
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import attrs

from fal_core.declaring import check_requirement_file
from fal_core.errors import OptionError, OptionTypeError
from fal_core.reprs import show_fields
from fal_uv.requirements import flags

if TYPE_CHECKING:
    from fal_uv.requirements.settled import Settled

#: The form ``settled`` is of what says where its packages come from, such as locks.
Form = Literal["index", "address", "path", "editable", "file", "settled", "flag"]

# These are compiled on first use: compiling takes as long as matching.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\]"
# The common case, without the parser of packaging: its import would add 30 ms to the
# start of every program that declares an environment.
_RELEASE = r"(?:==|!=|<=|>=|<|>)\s*[0-9]+(?:\.[0-9]+)*"
_PLAIN = rf"({_NAME})\s*(?:{_EXTRAS})?\s*(?:{_RELEASE}(?:\s*,\s*{_RELEASE})*)?"
_ADDRESS = rf"(?:({_NAME})\s*(?:{_EXTRAS})?\s*@\s*)?([a-z][a-z0-9+.-]*:\S.*)"
_FLAG = r"(-r|--requirements?|-e|--editable)(?:\s+|=|(?<=-[re])(?=\S))(\S.*)"
_PATH_WITH_EXTRAS = rf"(.*?)\s*({_EXTRAS})"
_DISTRIBUTIONS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz")
#: How files end that list requirements, or that are known not to.
_LISTS = (".txt", ".in", ".toml", ".cfg", ".py", ".lock", ".yml", ".yaml")


@attrs.frozen(kw_only=True)
class Requirement:
    """
    One parsed entry.

    Attributes:
        text: The entry, with an absolute path if it names a path.

        name: The name of the package as written, if the entry says it.

        path: The file or directory that the entry refers to, without extras.

        settled: What it is, if its form is ``settled``.
    """

    __repr__ = show_fields

    text: str
    form: Form
    name: str | None = None
    path: str | None = None
    settled: Settled | None = None

    @property
    def normalised_name(self) -> str | None:
        """The name of the package in the spelling that indexes compare."""
        from packaging.utils import canonicalize_name

        return None if self.name is None else canonicalize_name(self.name)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The entry as arguments for ``uv pip install``."""
        if self.form in ("editable", "file"):
            flag, _, rest = self.text.partition(" ")
            return (flag, rest)
        return (flags.argument_of(self.text) if self.form == "flag" else self.text,)


def parse_entry(entry: str) -> Requirement:
    """
    Parse one *entry*.

    Raises:
        OptionError: It is no requirement, or it names a path that does not exist.
    """
    text = entry.strip()
    if not text or "\n" in text or "\0" in text:
        raise OptionError(f"Requirement {entry!r} must be one line that is not empty.")
    if text.startswith("-"):
        return _parse_flag(text)
    if ":" in text and (address := re.fullmatch(_ADDRESS, text)) is not None:
        return _parse_address(text, *address.groups())
    if _looks_like_path(text):
        return _parse_path(text, editable=False)
    if (plain := re.fullmatch(_PLAIN, text)) is not None:
        return Requirement(text=text, form="index", name=plain[1])
    return Requirement(text=text, form="index", name=_parse_name(text))


def _parse_name(text: str) -> str:
    """Return the name in *text*, which must be a valid dependency specifier."""
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Specifier

    try:
        return Specifier(text).name
    except InvalidRequirement as error:
        raise OptionError(
            f"Requirement {text!r} cannot be parsed. {_explain(text)} "
            "Write a name with versions, as in 'numpy>=2', a URL, or a path, "
            "as in './project'."
        ) from error


def _explain(text: str) -> str:
    """Say in a sentence what is wrong with the dependency specifier *text*."""
    specifier, semicolon, marker = text.partition(";")
    if re.search(r"[^=<>!~]=[^=]", specifier):
        return "Write '==' to ask for one version."
    name = re.match(_NAME, text)
    if name is None:
        return "It does not begin with a name."
    if semicolon and (not specifier.strip() or _is_specifier(specifier)):
        return f"What follows the semicolon is not a valid marker: {marker.strip()!r}."
    return f"What follows {name[0]!r} is not a valid version."


def _is_specifier(text: str) -> bool:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Specifier

    try:
        Specifier(text)
    except InvalidRequirement:
        return False
    return True


def _parse_flag(text: str) -> Requirement:
    flag = re.fullmatch(_FLAG, text)
    if flag is None:
        return Requirement(text=flags.parse_flag(text), form="flag")
    if flag[1] in ("-e", "--editable"):
        if "://" in flag[2]:
            raise OptionError(
                f"Requirement {text!r} must name a local project: only that can be "
                "edited. Leave out the flag."
            )
        return _parse_path(flag[2], editable=True)
    return _parse_file(flag[2], is_list=True)


def _parse_address(text: str, name: str | None, address: str) -> Requirement:
    scheme = address.partition(":")[0]
    vcs, plus, _ = scheme.partition("+")
    if plus and vcs != "git":
        raise OptionError(
            f"Requirement {text!r} uses {vcs!r}, but only git is supported: "
            "write 'git+https://…'."
        )
    path = None
    if scheme == "file":
        from urllib.parse import unquote, urlsplit

        url = address.partition(";")[0].strip()
        path = _existing_path(unquote(urlsplit(url).path), text)
    return Requirement(text=text, form="address", name=name, path=path)


def _looks_like_path(text: str) -> bool:
    plain = re.sub(rf"\s*{_EXTRAS}\s*$", "", text.partition(";")[0])
    return (
        text.startswith((".", "~"))
        or os.sep in plain
        or plain.strip().endswith((*_DISTRIBUTIONS, ".txt", "pyproject.toml"))
        or (plain.strip().endswith(_LISTS) and os.path.isfile(plain.strip()))
    )


def _parse_path(text: str, *, editable: bool) -> Requirement:
    if text.endswith(_LISTS) and not editable and not os.path.isdir(text):
        return _parse_file(text, is_list=False)
    plain, extras = text, ""
    if (match := re.fullmatch(_PATH_WITH_EXTRAS, text)) is not None:
        plain, extras = match.groups()
        if os.path.basename(plain) in ("pyproject.toml", "setup.py", "setup.cfg"):
            flag, project = "-e " if editable else "", os.path.dirname(plain) or "."
            raise OptionError(
                f"Requirement {text!r} adds extras to a file. Name the project instead: "
                f"write {f'{flag}{project}{extras}'!r}."
            )
    path = _existing_path(plain, text)
    if editable and not os.path.isdir(path):
        raise OptionError(f"Requirement '-e {text}' must name the directory of a project.")
    if os.path.isdir(path) and not _is_project(path):
        raise OptionError(
            f"Requirement {text!r} names the directory {path}, which has neither a "
            "pyproject.toml nor a setup.py."
        )
    if editable:
        return Requirement(text=f"-e {path}{extras}", form="editable", path=path)
    return Requirement(text=f"{path}{extras}", form="path", path=path)


def _is_project(path: str) -> bool:
    return any(
        os.path.exists(os.path.join(path, name)) for name in ("pyproject.toml", "setup.py")
    )


def _parse_file(text: str, *, is_list: bool) -> Requirement:
    path = _existing_path(text, text)
    if os.path.isdir(path):
        raise OptionError(
            f"Requirement '-r {text}' must name a file, but {path} is a directory."
        )
    check_requirement_file(path, text, is_list=is_list)
    if path.endswith((".py", ".toml")):
        from fal_uv.requirements.settled import settled_file

        if (settled := settled_file(path)) is not None:
            return Requirement(text=f"-r {path}", form="settled", path=path, settled=settled)
    return Requirement(text=f"-r {path}", form="file", path=path)


def as_requirement(project: Settled) -> Requirement:
    """Return a project as a requirement."""
    return Requirement(
        text=f"project {project.path}", form="settled", path=project.path, settled=project
    )


def check_settled(layers: Iterable[Iterable[Requirement]]) -> None:
    """
    Check that one entry at most, in the first of *layers*, is a lock or the like.

    Raises:
        OptionError: Two would change each other, or one would change an earlier layer.
    """
    found: list[Requirement] = []
    for number, layer in enumerate(layers):
        for each in layer:
            if each.form != "settled":
                continue
            found.append(each)
            if number:
                raise OptionError(
                    f"Requirement {each.text!r} says which versions there are, and is not in "
                    "the first layer. Put it there."
                )
    if len(found) > 1:
        raise OptionError(
            f"Requirements {found[0].text!r} and {found[1].text!r} both say which versions "
            "there are. Name one of them."
        )


def check_for_service(layers: Iterable[str | Iterable[str]]) -> None:
    """
    Check that a service which builds the environment itself can have *layers* of entries.

    Raises:
        OptionError: An entry is a lock, a program with settings of uv, or a folder with links.
    """
    for layer in layers:
        for entry in (layer,) if isinstance(layer, str) else layer:
            if flags.names_folder(entry):
                raise OptionError(
                    f"Requirement {entry!r} names a folder of this machine, which a service "
                    "that builds the environment itself does not have."
                )
            if parse_entry(entry).form == "settled":
                raise OptionError(
                    f"Requirement {entry!r} is a lock or has settings of uv, which a service "
                    "that builds the environment itself does not follow. List what it "
                    "requires, or use another host."
                )


def _existing_path(plain: str, text: str) -> str:
    path = os.path.abspath(os.path.expanduser(plain))
    if not os.path.exists(path):
        raise OptionError(f"Requirement {text!r} names {path}, but there is no such path.")
    return path


Layers = tuple[tuple[str, ...], ...]


def parse_layers(
    requirements: Iterable[str] | Iterable[Iterable[str]],
) -> tuple[str, ...] | Layers:
    """
    Return *requirements*, entries or layers of entries, with absolute paths.

    Raises:
        OptionError: An entry is wrong; the message quotes it.

        OptionTypeError: An element is neither an entry nor a layer, or both are mixed.
    """
    if isinstance(requirements, str):
        raise OptionTypeError("requirements", f"{requirements!r} (str)", "a list of str")
    entries = list(requirements)
    if all(isinstance(entry, str) for entry in entries):
        return _parse_layer(entries)
    layers = []
    for index, layer in enumerate(entries):
        if isinstance(layer, str):
            raise OptionTypeError(
                f"requirements[{index}]",
                f"{layer!r} (str)",
                "a list of str, as other entries are",
            )
        layers.append(_parse_layer(layer, f"requirements[{index}]"))
    return tuple(layers)


def _parse_layer(layer: Iterable[object], where: str = "requirements") -> tuple[str, ...]:
    texts = []
    for position, entry in enumerate(layer):
        if not isinstance(entry, str):
            wrong = f"{entry!r} ({type(entry).__name__})"
            raise OptionTypeError(f"{where}[{position}]", wrong, "str")
        texts.append(entry)
    return tuple(parse_entry(text).text for text in flags.with_values(texts))
