"""The instructions of a Dockerfile, in the order in which they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

import attrs

from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_env_container.images.substitutions import split_words

#: The instructions that builders know.
KEYWORDS = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
    *("LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
    "WORKDIR",
)

#: Instructions whose arguments may contain heredocs.
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*?)\s*$")
#: A word that begins a heredoc; between quotes it is a part of another word.
_HEREDOC = re.compile(r"""\d*<<(-?)(["']?)([^\s<>"'|&;]+)\2(?=$|[>|&;])""")
_FLAG = re.compile(r"""--([A-Za-z][\w-]*)(?:=((?:"[^"]*"|'[^']*'|\S)*))?(?:\s+|$)""")


@attrs.frozen(kw_only=True)
class Instruction:
    """
    One instruction of a Dockerfile.

    Attributes:
        keyword: As in ``COPY``, in capitals.

        flags: Its options, as in ``("from", "builder")``; an option without a value has an
            empty one.

        text: What follows the options, with its lines joined.

        heredocs: The names of the files whose contents follow it.

        start: Where the instruction begins in the Dockerfile.

        after_keyword: Where the text behind the keyword begins in the Dockerfile.

        end: Where the line of the next instruction begins in the Dockerfile.

        line: The number of its first line.
    """

    __repr__ = show_fields

    keyword: str
    flags: tuple[tuple[str, str], ...] = ()
    text: str = ""
    heredocs: tuple[str, ...] = ()
    start: int = 0
    after_keyword: int = 0
    end: int = 0
    line: int = 0

    @property
    def words(self) -> tuple[str, ...]:
        """Its arguments: the strings of a JSON list, or what white space separates."""
        listed = self.listed
        return tuple(self.text.split()) if listed is None else listed

    @property
    def listed(self) -> tuple[str, ...] | None:
        """Its arguments if they are written as a JSON list of strings, else None."""
        if self.text.startswith("["):
            try:
                parsed = json.loads(self.text)
            except ValueError:
                return None
            if isinstance(parsed, list) and all(isinstance(each, str) for each in parsed):
                return tuple(parsed)
        return None


@attrs.frozen
class _Line:
    number: int
    start: int
    end: int
    text: str


def parse(text: str, *, heredocs: bool = True) -> tuple[Instruction, ...]:
    """
    Return the instructions of the Dockerfile *text*.

    Arguments:
        heredocs: Whether the lines of heredocs are no instructions.

    Raises:
        OptionError: A heredoc does not end.
    """
    return tuple(_instructions(text, with_heredocs=heredocs))


def check_keywords(text: str, instructions: Iterable[Instruction]) -> None:
    """
    Check that the *instructions* of the Dockerfile *text* are ones that builders know.

    A builder that its directive ``syntax`` names may know others.

    Raises:
        OptionError: One is not.
    """
    if "syntax" in _directives(text):
        return
    for each in instructions:
        if each.keyword not in KEYWORDS:
            from difflib import get_close_matches

            written = each.keyword[:40]
            near = get_close_matches(written, KEYWORDS, 1)
            raise OptionError(
                f"Line {each.line} of the Dockerfile begins with {written!r}, which is no "
                "instruction." + (f" Did you mean {near[0]!r}?" if near else "")
            )


def escape_character(text: str) -> str:
    """
    Return the character that escapes others in the Dockerfile *text*: its directive
    ``escape`` may name another than the backslash.
    """
    return _directives(text).get("escape", "\\")


def _directives(text: str) -> dict[str, str]:
    directives: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        found = _DIRECTIVE.match(line.strip())
        if found is None:
            break
        directives.setdefault(found[1].lower(), found[2])
    return directives


def _lines(text: str) -> Iterator[_Line]:
    position = 0
    # Builders know no other ends of lines.
    for number, line in enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), 1):
        end = position + len(line)
        yield _Line(number, position, end, line.rstrip("\r\n"))
        position = end


def _instructions(text: str, *, with_heredocs: bool) -> Iterator[Instruction]:
    escape = escape_character(text)
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    lines = list(_lines(text))
    index = 0
    while index < len(lines):
        first = lines[index]
        stripped = first.text.removeprefix("\ufeff").strip()
        if not stripped or stripped.startswith("#"):
            index += 1
            continue
        joined, end, index = _join(lines, index, continued)
        whole = joined.strip()
        written, rest = [*whole.split(None, 1), ""][:2]
        keyword = written.upper()
        heredocs = []
        if with_heredocs and keyword in _WITH_HEREDOCS:
            words = split_words(rest, escape=escape)
            for found in filter(None, map(_HEREDOC.match, words)):
                index, end = _skip_heredoc(lines, index, found[3], tabs=bool(found[1]))
                heredocs.append(found[3])
        flags, rest = _split_flags(rest)
        begin = first.start + len(first.text) - len(first.text.removeprefix("\ufeff").lstrip())
        yield Instruction(
            keyword=keyword,
            flags=flags,
            text=rest,
            heredocs=tuple(heredocs),
            start=begin,
            after_keyword=begin + len(keyword),
            end=end,
            line=first.number,
        )


def _join(lines: list[_Line], index: int, continued: re.Pattern[str]) -> tuple[str, int, int]:
    """
    Return the instruction that begins at *index* as one line, where it ends in the Dockerfile,
    and the index of the line after it.
    """
    joined = []
    while True:
        line = lines[index]
        index += 1
        # Comments and empty lines do not end an instruction that goes on.
        more = continued.search(line.text) is not None
        joined.append(continued.sub("", line.text) if more else line.text)
        while more and index < len(lines) and _is_skipped(lines[index].text):
            index += 1
        if not more or index == len(lines):
            return "".join(joined), line.end, index


def _is_skipped(line: str) -> bool:
    stripped = line.strip()
    return not stripped or stripped.startswith("#")


def _skip_heredoc(lines: list[_Line], index: int, name: str, *, tabs: bool) -> tuple[int, int]:
    """Return the index of the line after the heredoc *name*, and where its last line ends."""
    for place in range(index, len(lines)):
        content = lines[place].text
        if (content.lstrip("\t") if tabs else content) == name:
            return place + 1, lines[place].end
    raise OptionError(
        f"The heredoc {name!r} of the Dockerfile has no line {name!r} at its end."
    )


def _split_flags(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    flags = []
    while (found := _FLAG.match(text)) is not None:
        flags.append((found[1], (found[2] or "").strip("\"'")))
        text = text[found.end() :]
    return tuple(flags), text.strip()
