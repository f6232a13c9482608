"""
The keywords of ``function`` and ``on``, from the attrs classes whose fields they are.

``python -m house.keywords`` writes them into modules of ``src/fal_core/keywords``, with what
the classes say of each field, which editors show. It needs every plugin of this repository.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from fal_core.conversion.annotations import option_types
from fal_core.declaring.known_options import SPELLINGS
from fal_core.environments import CurrentEnvironment
from fal_core.executors.executors import INSTEAD
from fal_core.options import Gateway, HostOptions
from fal_core.policies import Policy
from house.imports import ROOT

FOLDER = ROOT / "src/fal_core/keywords"

#: The kinds of this repository, with the classes whose fields are their options.
KINDS = {
    "current": CurrentEnvironment,
    "virtualenv": "fal_env_virtualenv.kinds.Virtualenv",
    "conda": "fal_env_conda.kinds.Conda",
    "container": "fal_env_container.kinds.Container",
}

#: The hosts of this repository that have options of their own.
HOSTS = (
    "fal_host_local.options.LocalOptions",
    "fal_host_ray.options.RayOptions",
)

#: What stands for the classes of plugins, which the core does not import.
STANDING_IN = {
    "fal_env_container.images.container_images.ContainerImage": "ImageWithDockerfile",
}

#: What stands in annotations, where it is named.
IMPORTS = {
    ("fal_core.environments", "Environment"),
    ("fal_core.hosts", "Host"),
    ("fal_core.keywords.values", "ImageWithDockerfile"),
}

HEAD = '''\
"""
{what}

Written by ``python3 dev.py keywords``, from the classes whose fields they are. Nothing imports
it but type checkers.
"""

from __future__ import annotations

{imports}


'''

_OWN = {
    "host": "Host[Any, Any] | str | None",
    "local_python_modules": "list[str] | None",
}
_MORE = {"options": "Mapping[str, Any] | None"}

#: What is said of keywords that are no fields.
_DOCS = {
    "kind": "The kind of the environment, or an environment.",
    "options": "Options of kinds and hosts that type checkers do not know.",
    "host": "Where it runs: a host, its name or its URL.",
    "local_python_modules": "Modules to take along as source, beside those that are found.",
    "force_env_build": "The same as *force*.",
}


def write() -> dict[str, str]:
    """Return the text of each module, by its name."""
    kinds = {kind: _options_of_kind(kind) for kind in KINDS}
    return {
        "hosts": _module("The options of hosts, and policies, as keywords.", _of_hosts()),
        "kinds": _module("The options of each kind of environment, as keywords.", _of(kinds)),
        "options": _module("The options of all kinds and hosts, as keywords.", _of_all(kinds)),
    }


def _module(what: str, classes: Iterator[str]) -> str:
    text = "\n\n".join(classes)
    lines = ["import os"] if "os." in text else []
    for module, names in (
        ("collections.abc", ("Callable", "Iterable", "Mapping", "Sequence")),
        ("typing", ("Any", "Literal", "TypedDict")),
    ):
        used = [name for name in names if _names(text, name)]
        lines += [f"from {module} import {', '.join(used)}"] * bool(used)
    modules: dict[str, list[str]] = {}
    for module, name in sorted({*IMPORTS, *_HERE}):
        if _names(text, name) and f"class {name}(" not in text:
            modules.setdefault(module, []).append(name)
    lines += [""] * bool(modules)
    lines += [f"from {module} import {', '.join(names)}" for module, names in modules.items()]
    head = HEAD.replace("{what}", what).replace("{imports}", "\n".join(lines))
    return _broken(head + text)


#: The classes that modules take from each other.
_HERE = {
    ("fal_core.keywords.hosts", "FunctionKeywords"),
    ("fal_core.keywords.hosts", "HostKeywords"),
    ("fal_core.keywords.hosts", "PolicyKeywords"),
    ("fal_core.keywords.hosts", "SharedHostKeywords"),
}


def _names(text: str, name: str) -> bool:
    # Not in what is said of the fields.
    code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
    return re.search(rf"\b{name}\b", code) is not None


def _of_hosts() -> Iterator[str]:
    hosts = (HostOptions, *map(_find, HOSTS))
    of_hosts = {name: each for cls in hosts for name, each in _spelt(cls).items()}
    gateway = _spelt(Gateway)
    del gateway["serve"]
    options, docs = {**of_hosts, **gateway}, _docs_of(*hosts, Gateway)
    yield _class(
        "SharedHostKeywords",
        "TypedDict",
        "Options of hosts and the gateway that executors take too.",
        {name: each for name, each in options.items() if name not in INSTEAD},
        docs,
    )
    yield _class(
        "HostKeywords",
        "SharedHostKeywords",
        "Options of hosts and the gateway.",
        {name: each for name, each in options.items() if name in INSTEAD},
        docs,
    )
    yield _class(
        "PolicyKeywords",
        "TypedDict",
        "What ``with_policy`` takes.",
        _policy(),
        _docs_of(Policy),
    )
    yield _class(
        "KeywordsBesideOptions",
        "HostKeywords, PolicyKeywords",
        "What ``function`` takes for kinds that are not known here, beside ``options``.",
        _OWN,
    )
    yield _class(
        "FunctionKeywords",
        "KeywordsBesideOptions",
        "What it takes for every kind.",
        _MORE,
    )


def _of(kinds: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for kind, options in kinds.items():
        what = f"What ``function`` takes for kind ``{kind}``."
        if kind == "container":
            # Its overload takes the image, which has to be there.
            options = {each: options[each] for each in options if each != "image"}
            what = f"What ``function`` takes for kind ``{kind}`` beside the image."
        name = f"{kind.title()}Keywords"
        yield _class(name, "FunctionKeywords", what, options, _docs_of(_find(KINDS[kind])))


def _of_all(kinds: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    merged: dict[str, list[str]] = {}
    for options in kinds.values():
        for name, annotation in options.items():
            arms = merged.setdefault(name, [])
            arms += [each for each in _arms(annotation) if each not in arms]
    names = ", ".join(f'"{kind}"' for kind in KINDS)
    yield _class(
        "KindKeywords",
        "TypedDict",
        "The options of all kinds.",
        {**{name: _union(arms) for name, arms in merged.items()}, **_MORE},
        # What the first of them says.
        _docs_of(*map(_find, reversed(KINDS.values()))),
    )
    yield _class(
        "AnyKeywords",
        "HostKeywords, KindKeywords",
        "What ``on`` takes, whose function may have any kind.",
        {
            "kind": f"Literal[{names}] | Environment | None",
            "serve": _spelt(Gateway)["serve"],
        },
        _docs_of(Gateway),
    )
    yield _class(
        "ExecutorKeywords",
        "SharedHostKeywords, PolicyKeywords, KindKeywords",
        "What an executor takes beside its kind and its host.",
        {"local_python_modules": _OWN["local_python_modules"]},
    )


def _docs_of(*classes: type) -> dict[str, str]:
    """
    Return what *classes*, of which later ones take precedence, and their bases say of their
    fields.
    """
    found: dict[str, str] = {}
    for cls in (each for one in classes for each in reversed(one.__mro__)):
        section = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")[2]
        for entry in re.split(r"\n\n(?=\w+: )", textwrap.dedent(section).strip("\n")):
            name, _, text = entry.strip().partition(": ")
            said = " ".join(text.split())
            # As the docstring of the class says of all times.
            found[name] = re.sub(r"^How long ([^.]*)\.", r"How many seconds \1.", said)
    return found


def _policy() -> dict[str, str]:
    exceptions = "type[Exception] | Iterable[type[Exception]]"
    policy = {**_spelt(Policy), "retry_on": exceptions}
    nullable = attrs.fields_dict(Policy)
    return {
        name: each if nullable[name].default is None else _without_none(each)
        for name, each in policy.items()
    }


def _options_of_kind(kind: str) -> dict[str, str]:
    spelt = _spelt(_find(KINDS[kind]))
    for old, name in SPELLINGS.items():
        if name in spelt:
            spelt[old] = spelt[name]
    return spelt


def _spelt(cls: type) -> dict[str, str]:
    return {
        name: _union([*_arms(spell(annotation)), "None"])
        for name, annotation in option_types(cls).items()
    }


def _find(cls: type | str) -> type:
    if isinstance(cls, type):
        return cls
    module, _, name = cls.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def spell(annotation: Any) -> str:
    """Return the type of what users may write for an option of *annotation*."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if origin in (typing.Union, types.UnionType):
        return _union([arm for each in arguments for arm in _arms(spell(each))])
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(_quote, arguments))}]"
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        item = spell(arguments[0])
        # A string is a sequence of strings, and no list of them.
        return f"list[{item}] | tuple[{item}, ...]" if item == "str" else f"Sequence[{item}]"
    if origin in (Mapping, dict):
        return f"Mapping[{', '.join(map(spell, arguments))}]"
    if origin is Callable or getattr(origin, "__name__", "") == "Callable":
        takes, gives = arguments
        return f"Callable[[{', '.join(map(spell, takes))}], {spell(gives)}]"
    if origin is os.PathLike:
        return f"os.PathLike[{spell(arguments[0])}]"
    if origin is type:
        return f"type[{spell(arguments[0])}]"
    if annotation is Any:
        return "Any"
    if isinstance(annotation, type) and not arguments:
        return _name(annotation)
    raise NotImplementedError(f"house.keywords cannot write {annotation!r} yet.")


def _name(cls: type) -> str:
    full = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__ == "builtins":
        return cls.__name__
    if cls.__module__.startswith("fal_core."):
        IMPORTS.add((cls.__module__, cls.__name__))
        return cls.__name__
    if full not in STANDING_IN:
        raise NotImplementedError(
            f"Say in house.keywords what stands for {full}, which the core does not import."
        )
    return STANDING_IN[full]


def _quote(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _arms(spelt: str) -> list[str]:
    """Return the arms of the union *spelt*, not those of unions inside of brackets."""
    arms, depth = [""], 0
    for letter in spelt:
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and not depth:
            arms.append("")
        else:
            arms[-1] += letter
    return [arm.strip() for arm in arms]


def _union(arms: list[str]) -> str:
    if "Any" in arms:
        return "Any"
    named = [arm for arm in dict.fromkeys(arms) if arm != "None"]
    return " | ".join([*named, "None"] if "None" in arms else named)


def _without_none(spelt: str) -> str:
    return _union([arm for arm in _arms(spelt) if arm != "None"])


def _class(
    name: str, base: str, doc: str, fields: Mapping[str, str], docs: Mapping[str, str] = {}
) -> str:
    lines = [f"class {name}({base}, total=False):", f'    """{doc}"""']
    for field, annotation in fields.items():
        lines += ["", f"    {field}: {annotation}"]
        said = docs.get(field) or _DOCS.get(field)
        if said:
            lines += _docstring(said)
    return "\n".join(lines) + "\n"


def _docstring(said: str) -> list[str]:
    lines = textwrap.wrap(said, 92, break_long_words=False, break_on_hyphens=False)
    if len(lines) == 1:
        return [f'    """{said}"""']
    return ['    """', *(f"    {line}" for line in lines), '    """']


def _broken(text: str) -> str:
    """Return *text* with the lines broken that are too long."""
    lines = []
    for line in text.splitlines():
        if len(line) <= 96 or ": " not in line:
            lines.append(line)
            continue
        name, _, annotation = line.strip().partition(": ")
        lines += [f"    {name}: ("]
        head, *rest = _arms(annotation)
        lines += [f"        {head}", *(f"        | {each}" for each in rest), "    )"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the modules."""
    for name, text in write().items():
        (FOLDER / f"{name}.py").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
