"""What a ``.dockerignore`` leaves out of a build, as Docker reads it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

import attrs

from fal_core.errors import OptionError

#: What a context without ``.dockerignore`` leaves out, as fal's SDK has it.
DEFAULT_PATTERNS = (
    ".git",
    ".gitignore",
    ".dockerignore",
    "Dockerfile",
    "Dockerfile.*",
    "*.md",
    "__pycache__",
    "*.pyc",
    ".DS_Store",
    ".venv",
    "venv",
    ".env",
    "node_modules",
)


@attrs.frozen
class Pattern:
    """One line: what it matches, and whether that is taken back in."""

    text: str
    expression: re.Pattern[str]
    is_exception: bool

    def matches(self, path: str) -> bool:
        """Tell whether it matches *path*, or a directory above it."""
        end = len(path)
        while end > 0:
            if self.expression.fullmatch(path[:end]):
                return True
            end = path.rfind("/", 0, end)
        return False


@attrs.frozen
class IgnorePatterns:
    """Patterns of which the last that matches counts."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> IgnorePatterns:
        """
        Return the patterns that *lines* hold, as those of a ``.dockerignore`` do.

        Raises:
            OptionError: A line is no pattern.
        """
        return cls(tuple(_parse(line) for line in clean_lines(lines)))

    @property
    def has_exceptions(self) -> bool:
        """Whether something below an ignored directory may be seen."""
        return any(each.is_exception for each in self.patterns)

    def match(self, path: str) -> Pattern | None:
        """
        Return the pattern that leaves out *path*; None if it is seen.

        Arguments:
            path: Relative to the context, with slashes.
        """
        found = None
        for pattern in self.patterns:
            if pattern.matches(path):
                found = pattern
        return None if found is None or found.is_exception else found


def clean_lines(lines: Iterable[str]) -> list[str]:
    """Return the patterns in *lines*: without comments, white space, and slashes at their ends."""
    cleaned = []
    for number, line in enumerate(lines):
        text = line.removeprefix("\ufeff") if number == 0 else line
        if text.startswith("#"):
            continue
        text = text.strip()
        sign = "!" if text.startswith("!") else ""
        text = text[len(sign) :].strip()
        if text:
            path = posixpath.normpath(text)
            # Two slashes at the start are kept by normpath.
            text = "/" + path.lstrip("/") if path.startswith("/") else path
            text = text[1:] if len(text) > 1 and text[0] == "/" else text
        if text or sign:
            cleaned.append(sign + text)
    return cleaned


def _parse(line: str) -> Pattern:
    text = line.removeprefix("!")
    if not text:
        raise OptionError(
            "A line of the .dockerignore is '!' alone: name what it takes back in."
        )
    try:
        return Pattern(line, re.compile(to_expression(text), re.DOTALL), line != text)
    except re.error as error:
        raise OptionError(
            f"{line!r} in the .dockerignore is no pattern: {error.msg}."
        ) from error


def to_expression(pattern: str) -> str:
    """Return *pattern* as a regular expression for whole paths."""
    expression, index = "", 0
    while index < len(pattern):
        letter = pattern[index]
        index += 1
        if letter == "*" and pattern[index : index + 1] == "*":
            index += 1
            index += pattern[index : index + 1] == "/"
            expression += ".*" if index == len(pattern) else "(?:.*/)?"
        elif letter == "*":
            expression += "[^/]*"
        elif letter == "?":
            expression += "[^/]"
        elif letter == "[":
            group, index = _group(pattern, index)
            expression += group
        elif letter == "\\" and index < len(pattern):
            expression += re.escape(pattern[index])
            index += 1
        else:
            expression += re.escape(letter)
    return expression


def _group(pattern: str, index: int) -> tuple[str, int]:
    """Return the class of characters that begins at *index*, and where it ends."""
    negated = pattern[index : index + 1] == "^"
    index += negated
    content = ""
    while index < len(pattern) and pattern[index] != "]":
        if pattern[index] == "\\":
            index += 1
        # A hyphen makes a range where it is not escaped.
        letter = pattern[index : index + 1]
        plain = letter == "-" and pattern[index - 1] != "\\"
        content += letter if plain else re.escape(letter)
        index += 1
    if not content or index >= len(pattern):
        raise re.error("a '[' has no ']'")
    return f"[{'^' if negated else ''}{content}]", index + 1
