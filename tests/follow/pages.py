"""Pages: their blocks of code, and what the text around them says about each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]

#: Languages of the blocks that readers type into a terminal.
TYPED = ("console", "bash", "sh", "shell")

#: Languages of the blocks that readers run or save. ``python`` is a part of the page's
#: program, and ``py`` a file of its own.
PYTHON = ("python", "py")

#: How the names of files end, by the language of their blocks.
ENDINGS = {"python": ".py", "py": ".py", "toml": ".toml", "yaml": (".yml", ".yaml")}
OTHERS = (".cfg", ".conf", ".csv", ".env", ".ini", ".json", ".service", ".txt", "Dockerfile")

#: Parts of the table of contents that one follows.
FOLLOWED = ("Tutorial", "How to")

#: Templates of projects, and what one types before following what the program says.
TEMPLATES = ("function", "app", "pipeline")
_CREATES = """\
```console
pip install 'fal-core[local]'
fal-core new words --template {template}
```
"""

_FENCE = re.compile(r"```(\S.*)?$")
_REASON = re.compile(r"<!-- not followed: (.+) -->$")
_TITLE = re.compile(r"(#+) ")
_FILE = re.compile(r"`([\w./-]+\.\w+|[\w./-]*Dockerfile)`")
_EXTRA = re.compile(r"\b(?:[Ww]ith|takes|needs) the extra `([\w,]+)`")
_INSTALL = re.compile(r"^(?:\$ )?(?:uv )?pip install .*", re.MULTILINE)
_PARTS = re.compile(r"fal-core\[([\w,]+)\]")


@attrs.frozen(kw_only=True)
class Block:
    """
    A block of code of a page.

    Attributes:
        line: The number of its first line of code.

        reason: Why it is not followed, as an invisible comment says: one before it, or
            one before the title of its section or its page. Empty if it is.

        file: The file that it is, by the paragraph before it. Empty if that names none.

        extra: The extra that its section asks for, where the page has not installed it.
    """

    language: str
    line: int
    text: str
    reason: str = ""
    file: str = ""
    extra: str = ""

    @property
    def is_program(self) -> bool:
        """Whether it is a part of the page's program."""
        return self.language == "python" and not self.reason


@attrs.frozen
class Page:
    """
    A page, by its path below the repository.

    A new project is a page too, whose reader goes on with the commands that are printed.
    """

    name: str
    text: str
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, name: str, text: str) -> Page:
        """Return the page of *text*."""
        return cls(name, text, tuple(_read_blocks(text)))

    @property
    def is_project(self) -> bool:
        """Whether it is a new project."""
        return not self.name.endswith(".md")


def find_pages() -> list[str]:
    """
    Return the first page, then those that the table of contents has to be followed.

    How-tos that the table does not list are followed too.
    """
    index = (ROOT / "docs/index.md").read_text("utf-8")
    listed = []
    for caption, names in re.findall(r":caption: (.+)\n(?::.*\n)*\n([^`]*)```", index):
        if caption in FOLLOWED:
            listed += [f"docs/{name}.md" for name in names.split()]
    how_tos = sorted(f"docs/how-to/{each.name}" for each in ROOT.glob("docs/how-to/*.md"))
    projects = [f"fal-core new --template {template}" for template in TEMPLATES]
    return list(dict.fromkeys(["README.md", *listed, *how_tos, *projects]))


def read_page(name: str) -> Page:
    """Read the page *name*: a path below the repository, or the command of a new project."""
    _, creates, template = name.partition("fal-core new --template ")
    if creates:
        return Page.of(name, _CREATES.format(template=template))
    return Page.of(name, (ROOT / name).read_text("utf-8"))


def _read_blocks(text: str) -> Iterator[Block]:
    lines = text.splitlines()
    sections = _extras_of_sections(text)
    installed = set(_PARTS.findall(" ".join(_INSTALL.findall(text))))
    parts = {part for each in installed for part in each.split(",")}
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        end = next(
            (later for later in range(at + 1, len(lines)) if lines[later] == "```"), len(lines)
        )
        extra = next((asked for first, asked in reversed(sections) if first <= at), "")
        language = opened[1] or "text"
        yield Block(
            language=language,
            line=at + 2,
            text="".join(f"{line}\n" for line in lines[at + 1 : end]),
            reason=_find_reason(lines[:at]),
            file=_name_file(lines[:at], language),
            extra="" if extra in parts else extra,
        )
        at = end + 1


def _extras_of_sections(text: str) -> list[tuple[int, str]]:
    """Return the first line of each section, from 0, and the extra that it asks for."""
    found, line = [], 0
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        prose = re.sub(r"^```.*?^```$", "", section, flags=re.MULTILINE | re.DOTALL)
        asked = _EXTRA.search(prose)
        found.append((line, asked[1] if asked else ""))
        line += section.count("\n")
    return found


def _find_reason(before: list[str]) -> str:
    """Return why the block after these lines is not followed. Empty if it is."""
    said = _REASON.match(before[-1]) if before else None
    if said:
        return said[1]
    level, fenced = 9, False
    for number, line in reversed(list(enumerate(before))):
        fenced ^= line.startswith("```")
        title = None if fenced else _TITLE.match(line)
        if title and len(title[1]) < level:
            level = len(title[1])
            above = [each for each in before[:number] if each.strip()]
            said = _REASON.match(above[-1]) if above else None
            if said:
                return said[1]
    return ""


def _name_file(before: list[str], language: str) -> str:
    """Return the last file that the paragraph before a block names, if it leads to the block."""
    if language in TYPED or language.startswith("{"):
        return ""
    paragraph: list[str] = []
    for line in reversed(before):
        if line.strip() and not line.startswith(("```", "#", "|", "<!--")):
            paragraph.insert(0, line)
        elif paragraph:
            break
    text = " ".join(paragraph)
    if not text.endswith(":"):
        return ""
    endings = ENDINGS.get(language, OTHERS)
    names = [name for name in _FILE.findall(text) if name.endswith(endings)]
    return names[-1] if names else ""


@attrs.frozen
class Typed:
    """
    A command that a block types, and the output that it shows for it.

    Attributes:
        line: The number of its first line in the page.
    """

    line: int
    command: str
    shown: tuple[str, ...]


def read_typed(block: Block) -> list[Typed]:
    """
    Return the commands of *block*.

    With prompts, what has none is output; without prompts, output is a comment below its
    command.
    """
    lines = block.text.splitlines()
    prompted = any(line.startswith("$ ") for line in lines)
    found: list[Typed] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        shown = not line.startswith("$ ") if prompted else line.startswith("#")
        if shown or not line.strip():
            if found and line.strip():
                text = line if prompted else line.removeprefix("#").removeprefix(" ")
                found[-1] = attrs.evolve(found[-1], shown=(*found[-1].shown, text))
            at += 1
            continue
        end = at + 1
        command = line.removeprefix("$ ")
        while end < len(lines) and is_unfinished(command):
            command += "\n" + lines[end].removeprefix("> ")
            end += 1
        found.append(Typed(block.line + at, command, ()))
        at = end
    return found


def is_unfinished(command: str) -> bool:
    """Whether a shell would wait for another line of *command*."""
    document = re.search(r"<<-?\s*(['\"]?)(\w+)\1", command)
    if document:
        return document[2] not in command.splitlines()[1:]
    quote, escaped = "", False
    for character in command:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    return escaped or bool(quote)
