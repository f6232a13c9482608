"""Environment files: what an ``environment.yml`` says, as text, as a file or as a dict."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fal_core.errors import OptionError
from fal_env_conda.declaring.lock_files import Lock, read_lock

_KEYS = ("name", "channels", "dependencies", "variables", "prefix", "platforms")

#: The most entries that a file may have.
_MOST_NODES = 100_000


@attrs.frozen(kw_only=True)
class EnvironmentFile:
    """
    What an environment file asks for.

    Attributes:
        lock: The packages, where they were chosen before.

        packages: As conda writes them, as in ``numpy>=2`` or ``conda-forge::numpy``.

        pip: Requirements for pip. None if the file has no list of them.

        variables: Environment variables of every program in the environment.

        loaded: What the file has in it, as it was read.
    """

    channels: tuple[str, ...] = ()
    lock: Lock | None = None
    packages: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    loaded: Mapping[str, Any] | None = attrs.field(default=None, repr=False, eq=False)


def read_file(path: str | os.PathLike[str]) -> EnvironmentFile:
    """
    Return what the environment file *path* asks for; paths in it become absolute. It may be
    a lock file too.

    Raises:
        OptionError: It cannot be read, or is no environment file.
    """
    place = os.path.abspath(os.path.expanduser(path))
    where = f"Option 'env_yml' names {place}"
    try:
        with open(place, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        raise OptionError(f"{where}, and there is no such file.") from None
    except (OSError, UnicodeError) as error:
        raise OptionError(f"{where}, which cannot be read: {error}.") from None
    where = f"The file {place}"
    folder = os.path.dirname(place)
    lock = read_lock(text, where=where)
    if lock is not None:
        return EnvironmentFile(lock=lock.below(folder))
    loaded = dict(load(text, where=where))
    dependencies = loaded.get("dependencies")
    if isinstance(dependencies, list):
        loaded["dependencies"] = [_from_folder(each, folder) for each in dependencies]
    channels = loaded.get("channels")
    if isinstance(channels, list):
        loaded["channels"] = [
            os.path.join(folder, each)
            if isinstance(each, str) and each.startswith((".", "~"))
            else each
            for each in channels
        ]
    return parse(loaded, where=where)


def load(text: str, *, where: str) -> Mapping[str, Any]:
    """
    Return the mapping that *text* is in YAML.

    Raises:
        OptionError: It is none; the message begins with *where*.
    """
    import yaml

    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_keys(document, where)
        loaded = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f" in line {mark.line + 1}"
        raise OptionError(f"{where} is not YAML{place}: {error.problem}.") from None
    except RecursionError:
        raise OptionError(f"{where} has lists in lists without end.") from None
    except yaml.YAMLError as error:
        raise OptionError(f"{where} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(loaded, dict):
        raise OptionError(
            f"{where} is no environment file: it has no key 'dependencies' with a list."
        )
    return loaded


def _check_keys(document: Any, where: str) -> None:
    """
    Check that no key comes twice, since the last one would hide what the others say, and that
    what aliases stand for stays small.
    """
    import yaml

    waiting, looked_at = [document], 0
    while waiting:
        node = waiting.pop()
        looked_at += 1
        if looked_at > _MOST_NODES:
            raise OptionError(f"{where} has more than {_MOST_NODES} entries, aliases counted.")
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, value in node.value:
            waiting.append(value)
            line, name = key.start_mark.line + 1, str(key.value)
            if name in seen:
                raise OptionError(
                    f"{where} has the key {name!r} twice, in lines {seen[name]} and {line}. "
                    "Leave one of them out."
                )
            seen[name] = line


def parse(loaded: Mapping[str, Any], *, where: str) -> EnvironmentFile:
    """
    Return what the mapping of an environment file asks for.

    Raises:
        OptionError: It has another shape; the message begins with *where*.
    """
    from difflib import get_close_matches

    for key in loaded:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It may have {', '.join(_KEYS)}."
            raise OptionError(f"{where} has an unknown key {key!r}. {hint}")
    packages: list[str] = []
    pip: list[str] = []
    for entry in _list(loaded, "dependencies", where):
        if isinstance(entry, str):
            packages.append(entry)
        elif isinstance(entry, dict) and list(entry) == ["pip"]:
            pip += _texts(entry["pip"] or (), "pip", where)
        else:
            raise OptionError(
                f"{where} has {entry!r} in 'dependencies'. Each entry is a package, as in "
                "'numpy>=2', or a list of requirements below 'pip:'."
            )
    return EnvironmentFile(
        channels=_texts(_list(loaded, "channels", where), "channels", where),
        packages=tuple(packages),
        pip=tuple(pip),
        variables=_variables(loaded.get("variables"), where),
        loaded=loaded,
    )


def _list(loaded: Mapping[str, Any], key: str, where: str) -> Iterable[Any]:
    found = loaded.get(key)
    if found is None:
        return ()
    if not isinstance(found, list | tuple):
        raise OptionError(f"{where} has {found!r} as {key!r}, which must be a list.")
    return found


def _texts(found: Iterable[Any], key: str, where: str) -> tuple[str, ...]:
    texts = tuple(found) if isinstance(found, list | tuple) else (found,)
    for text in texts:
        if not isinstance(text, str):
            raise OptionError(f"{where} has {text!r} in {key!r}, which must be a list of str.")
    return texts


def _variables(found: Any, where: str) -> tuple[tuple[str, str], ...]:
    if found is None:
        return ()
    if not isinstance(found, dict):
        raise OptionError(f"{where} has {found!r} as 'variables', which must be a mapping.")
    pairs = []
    for name, value in found.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise OptionError(f"{where} has {name!r} in 'variables', which names no variable.")
        if name == "PATH":
            raise OptionError(
                f"{where} has 'PATH' in 'variables', which the environment sets itself. Set "
                "it in the function."
            )
        if "\0" in str(value):
            raise OptionError(
                f"{where} has a variable {name!r} with a NUL, which none may have."
            )
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise OptionError(
                f"{where} has {value!r} as variable {name!r}, which must be a str: quote it."
            )
        pairs.append((name, str(value)))
    return tuple(sorted(pairs))


def _from_folder(entry: Any, folder: str) -> Any:
    """Return *entry* with the paths in its pip requirements below *folder*."""
    if not isinstance(entry, dict) or not isinstance(entry.get("pip"), list):
        return entry
    return {**entry, "pip": [_absolute(each, folder) for each in entry["pip"]]}


def _absolute(requirement: Any, folder: str) -> Any:
    if not isinstance(requirement, str):
        return requirement
    option = re.match(r"(?:-r|-e|--requirements?|--editable)(?:\s+|=)", requirement)
    path = requirement[option.end() :] if option else requirement
    if option is None and not path.startswith((".", "~")):
        return requirement
    if "://" in path:
        return requirement
    absolute = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    return f"{option[0] if option else ''}{absolute}"
