"""
Directives that write the reference from the code: fields, hooks, errors, commands.

Each makes Markdown of what it finds in the running package, so that the
reference cannot say anything that the code does not.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PROPERTIES = (property, functools.cached_property)
#: Characters of a signature that fit into one line of a page.
WIDTH = 88
SECTIONS = ("Attributes:", "Arguments:", "Raises:")


class Markdown(SphinxDirective):
    """A directive whose content is Markdown that :meth:`lines` yields."""

    has_content = False

    def lines(self) -> Iterator[str]:
        raise LookupError(f"{type(self).__name__} has nothing to say.")

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.lines())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def find(path: str) -> Any:
    """Return the object at the dotted *path*."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def prose(text: str) -> str:
    """Return docstring text as Markdown: roles become code."""
    text = re.sub(r":\w+:`~?(?:[^`<]+<)?([^`<>]+)>?`", r"`\1`", text)
    return text.replace("``", "`")


def split(docstring: str | None) -> tuple[str, dict[str, dict[str, str]]]:
    """Split a docstring into its text, and its sections as name and description."""
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    current = text
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line in SECTIONS:
            current = sections.setdefault(line, [])
        else:
            current.append(line)
    return (
        prose("\n".join(text).strip()),
        {title: dict(entries(lines)) for title, lines in sections.items()},
    )


def entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the entries of one section: what stands before the colon, and after it."""
    body = textwrap.dedent("\n".join(lines)).strip()
    for entry in re.split(r"\n(?=\S)", body):
        name, _, description = entry.partition(":")
        yield name, prose(" ".join(description.split()))


def code(annotation: Any) -> str:
    """Return an annotation as it is written, fit for a table's cell."""
    return "`" + annotation_text(annotation).replace("|", "\\|") + "`"


def default_of(field: attrs.Attribute[Any]) -> str:
    """Return the default of *field* as it is written; empty where there is none."""
    if field.default is attrs.NOTHING:
        return ""
    # It is a class, typed as a function.
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        return f"`{field.default.factory.__name__}()`"
    return f"`{default_text(field.default)}`".replace("|", "\\|")


def table_of(cls: Any, fields: Iterable[attrs.Attribute[Any]]) -> Iterator[str]:
    """Yield the table of *fields* of *cls*, described by its docstring and those of its bases."""
    described: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        described |= split(base.__doc__)[1].get("Attributes:", {})
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for field in fields:
        meaning = described.get(field.name, "").replace("|", "\\|")
        yield f"| `{field.alias}` | {code(field.type)} | {default_of(field)} | {meaning} |"
    yield ""


class Fields(Markdown):
    """``fal-fields:: module.Class``: an attrs class with its text, fields and methods."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        cls = find(self.arguments[0])
        yield f"## {cls.__name__}\n"
        yield split(cls.__doc__)[0] + "\n"
        if attrs.fields(cls):
            yield from table_of(cls, attrs.fields(cls))
        yield from members_of(cls, public_names(Path(self.env.srcdir)))


class Function(Markdown):
    """``fal-function:: module.function``: a function with its signature and arguments."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        function = find(self.arguments[0])
        text, sections = split(function.__doc__)
        yield f"## {function.__name__}\n"
        yield f"```python\n{function.__name__}{signature_of(function, broken=True)}\n```\n"
        yield text + "\n"
        yield from listed(sections)


class Kinds(Markdown):
    """``fal-kinds::``: the installed kinds of environment, each with its options."""

    def lines(self) -> Iterator[str]:
        from fal_core.plugins import load_plugins

        for kind, cls in sorted(load_plugins().environments.items()):
            yield f"## {kind}\n"
            yield split(cls.__doc__)[0] + "\n"
            fields = [field for field in attrs.fields(cls) if field.init]
            # What must be written comes first.
            fields.sort(key=lambda field: field.default is not attrs.NOTHING)
            if fields:
                yield from table_of(cls, fields)
            else:
                yield "It has no options.\n"


class InstalledHosts(Markdown):
    """``fal-installed-hosts::``: the installed hosts, each with the options it acts on."""

    def lines(self) -> Iterator[str]:
        from fal_core.options import HostOptions
        from fal_core.plugins import load_plugins

        documented = attrs.fields_dict(HostOptions)
        for name, cls in sorted(load_plugins().hosts.items()):
            yield f"## {name}\n"
            yield split(cls.__doc__)[0] + "\n"
            acted_on, options = cls.capabilities.options, cls.options
            if acted_on is None:
                yield "It acts on every option of hosts.\n"
            elif acted_on:
                yield f"It acts on {', '.join(f'`{each}`' for each in sorted(acted_on))}.\n"
            else:
                yield "It acts on no option of hosts.\n"
            own = [each for each in attrs.fields(options) if each.name not in documented]
            if own:
                yield "Options of its own:\n"
                yield from table_of(options, own)


class Contract(Markdown):
    """
    ``fal-contract:: module.Class``: a class with its methods.

    How it is made is shown where its docstring has arguments.
    """

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        cls = find(self.arguments[0])
        text, sections = split(cls.__doc__)
        yield f"## {cls.__name__}\n"
        yield text + "\n"
        if "Arguments:" in sections:
            made = signature_of(cls.__init__, broken=True).removesuffix(" -> None")
            yield f"```python\n{cls.__name__}{made}\n```\n"
            yield from listed(sections)
        attributes = sections.get("Attributes:", {})
        if attributes and "Arguments:" in sections:
            yield "It has these attributes:\n"
        for name, description in attributes.items():
            yield f"- `{name}`: {description}"
        yield ""
        yield from members_of(cls, public_names(Path(self.env.srcdir)))


def public_names(docs: Path) -> frozenset[str]:
    """Return the names that a plugin may import, of whatever module."""
    import csv

    with (docs / "public-names.csv").open(newline="", encoding="utf-8") as file:
        return frozenset(row["name"] for row in csv.DictReader(file))


def members_of(cls: type, public: frozenset[str]) -> Iterator[str]:
    """
    Yield the methods and properties of *cls* that are described.

    Those of a base that is not *public* are its own. What attrs has generated is no
    method that anybody calls.
    """
    own = [each for each in cls.__mro__ if each is cls or each.__name__ not in public]
    shown: set[str] = set()
    for base in own:
        if not base.__module__.startswith("fal_"):
            continue
        for name, member in vars(base).items():
            described = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(member, functools.cached_property):
                described = member.func
            is_public = not name.startswith("_") or name == "__call__"
            if is_public and name not in shown and inspect.isfunction(described):
                shown.add(name)
                yield from describe(name, member, described)


def describe(name: str, member: Any, function: Any) -> Iterator[str]:
    """Yield one method or property, if it has a docstring."""
    text, sections = split(function.__doc__)
    if not text:
        return
    marks = [
        mark
        for mark, holds in (
            ("class method", isinstance(member, classmethod)),
            ("property", isinstance(member, PROPERTIES)),
            ("abstract", getattr(member, "__isabstractmethod__", False)),
        )
        if holds
    ]
    call = "" if isinstance(member, PROPERTIES) else signature_of(function)
    if len(name) + len(call) > WIDTH:
        call = signature_of(function, broken=True)
    yield f"### {name}\n"
    yield f"```python\n{name}{call}\n```\n"
    yield (f"*{', '.join(marks)}.* " if marks else "") + text + "\n"
    yield from listed(sections)


def listed(sections: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the arguments of a function, and what it raises, as a list."""
    for title in ("Arguments:", "Raises:"):
        for entry, description in sections.get(title, {}).items():
            label = "raises " if title == "Raises:" else ""
            yield f"- {label}`{entry}`: {description}"
    yield ""


def signature_of(function: Any, *, broken: bool = False) -> str:
    """
    Return the signature of *function* as it is written, without self or cls.

    Arguments:
        broken: Put each parameter on a line of its own.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name in {"self", "cls"}:
        del parameters[0]
    words = list(written(parameters))
    text = "".join(f"\n    {word}," for word in words) + "\n" if broken else ", ".join(words)
    end = signature.return_annotation
    return f"({text})" + ("" if end is signature.empty else f" -> {annotation_text(end)}")


def written(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Yield *parameters* as they are written, and the star before those given by name."""
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            yield "*"
        starred = starred or parameter.kind in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        )
        # Annotations are strings in the code, and are shown without their quotes.
        bare = parameter.replace(annotation=parameter.empty, default=parameter.empty)
        text, equal = str(bare), "="
        if parameter.annotation is not parameter.empty:
            text, equal = f"{text}: {annotation_text(parameter.annotation)}", " = "
        if parameter.default is not parameter.empty:
            text = f"{text}{equal}{default_text(parameter.default)}"
        yield text


def default_text(default: Any) -> str:
    """Return a default as it is written."""
    if inspect.isfunction(default) or inspect.isclass(default):
        return default.__name__ if default.__name__ != "<lambda>" else "..."
    # A bound that none reaches.
    return "sys.maxsize" if default == sys.maxsize else repr(default)


def annotation_text(annotation: Any) -> str:
    """Return an annotation as it is written."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


class Hooks(Markdown):
    """``fal-hooks::``: the table of hooks, from their specifications."""

    def lines(self) -> Iterator[str]:
        from fal_core import hooks

        yield "| hook | answers | what it is for |"
        yield "|---|---|---|"
        for name, hook in vars(hooks).items():
            options = getattr(hook, "fal_core_spec", None)
            if options is None:
                continue
            text, _ = split(hook.__doc__)
            if options["firstresult"]:
                answers = "the first that is not None"
            elif inspect.signature(hook).return_annotation in {"None", None}:
                answers = "none"
            else:
                answers = "all"
            call = f"{name}{signature_of(hook)}"
            yield f"| {code(call)} | {answers} | {' '.join(text.split())} |"
        yield ""


class Errors(Markdown):
    """``fal-errors::``: the tree of errors, and each with its facts."""

    def lines(self) -> Iterator[str]:
        from fal_core import errors
        from fal_core.facts import facts_of

        tree = inspect.cleandoc(errors.__doc__ or "")
        start = tree.index("    FalCoreError")
        drawn, _, _ = tree[start:].partition("\n\n")
        yield f"```text\n{textwrap.dedent(drawn)}\n```\n"
        yield "| error | facts | meaning |"
        yield "|---|---|---|"
        for name, error in vars(errors).items():
            if not (isinstance(error, type) and issubclass(error, errors.FalCoreError)):
                continue
            text, _ = split(error.__doc__)
            facts = [f"`{name}`" for name in facts_of(error)]
            yield f"| `{name}` | {', '.join(facts)} | {' '.join(text.split())} |"
        yield ""


class Commands(Markdown):
    """``fal-commands::``: the help of each command of ``fal-core``."""

    def lines(self) -> Iterator[str]:
        import click

        from fal_core.cli.program import cli

        yield from self.command(click.Context(cli, info_name="fal-core"))

    def command(self, context: Any) -> Iterator[str]:
        """Yield the help of one command, and of those under it."""
        yield f"## {context.command_path}\n"
        yield f"```text\n{context.get_help()}\n```\n"
        for name, command in sorted(getattr(context.command, "commands", {}).items()):
            yield from self.command(type(context)(command, info_name=name, parent=context))


class Names(Markdown):
    """``fal-names::``: where the documented names live."""

    def lines(self) -> Iterator[str]:
        import csv

        docs = Path(self.env.srcdir)
        self.env.note_dependency(str(docs / "documented-names.csv"))
        yield "| documented | here | distribution |"
        yield "|---|---|---|"
        with (docs / "documented-names.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                name = row["distribution"]
                here = name == "fal-core" or (docs.parent / "plugins" / name).is_dir()
                where = f"`{name}`" if here else f"`{name}`, not there yet"
                yield f"| `{row['documented']}` | `{row['here']}` | {where} |"
        yield ""


class PublicNames(Markdown):
    """``fal-public-names::``: what a plugin may import, by module."""

    def lines(self) -> Iterator[str]:
        import csv

        docs = Path(self.env.srcdir)
        self.env.note_dependency(str(docs / "public-names.csv"))
        modules: dict[str, list[str]] = {}
        with (docs / "public-names.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                modules.setdefault(row["module"], []).append(f"`{row['name']}`")
        yield "| module | what it is for | names |"
        yield "|---|---|---|"
        for module, names in modules.items():
            text, _ = split(importlib.import_module(module).__doc__)
            first = " ".join(text.split("\n\n")[0].split())
            yield f"| `{module}` | {prose(first)} | {', '.join(names)} |"
        yield ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.add_directive("fal-fields", Fields)
    app.add_directive("fal-function", Function)
    app.add_directive("fal-kinds", Kinds)
    app.add_directive("fal-installed-hosts", InstalledHosts)
    app.add_directive("fal-contract", Contract)
    app.add_directive("fal-hooks", Hooks)
    app.add_directive("fal-errors", Errors)
    app.add_directive("fal-commands", Commands)
    app.add_directive("fal-names", Names)
    app.add_directive("fal-public-names", PublicNames)
    return {"parallel_read_safe": True}
