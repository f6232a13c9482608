"""Variables in the instructions of a Dockerfile, and the values that ARG and ENV give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#]")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?[-+?])?")

#: Returns the value of a variable; None where it cannot be known before the build.
Lookup = Callable[[str], str | None]


def expand(word: str, lookup: Lookup, *, escape: str = "\\") -> str | None:
    """
    Return *word* with its variables replaced and its quotes removed.

    None where a value cannot be known before the build.
    """
    expanded = []
    try:
        for part in _parts(word, lookup, escape):
            if part is None:
                return None
            expanded.append(part)
    except IndexError:
        return None  # A quote or a brace that does not end: the builder refuses it.
    return "".join(expanded)


def split_pairs(text: str, *, escape: str = "\\") -> Iterator[tuple[str, str | None]]:
    """
    Yield the names and values of ``NAME=value NAME2="two words" NAME3``, quotes and variables
    left as they are; the value of a name alone is None.
    """
    for word in split_words(text, escape=escape):
        name, equals, value = word.partition("=")
        yield name, value if equals else None


def split_words(text: str, *, escape: str = "\\") -> Iterator[str]:
    """Yield what white space outside quotes separates in *text*."""
    word, quote, index = "", "", 0
    while index < len(text):
        letter = text[index]
        if letter == escape and quote != "'":
            word += text[index : index + 2]
            index += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        if letter.isspace() and not quote:
            if word:
                yield word
            word = ""
        else:
            word += letter
        index += 1
    if word:
        yield word


def _parts(word: str, lookup: Lookup, escape: str) -> Iterator[str | None]:
    index, quoted = 0, False
    while index < len(word):
        letter = word[index]
        if letter == escape:
            # Between double quotes it escapes but a few.
            following = word[index + 1 : index + 2]
            kept = quoted and following not in ('"', "$", escape)
            yield escape + following if kept else following
            index += 2
        elif letter == "'" and not quoted:
            end = word.find("'", index + 1)
            if end < 0:
                raise IndexError(word)
            yield word[index + 1 : end]
            index = end + 1
        elif letter == '"':
            quoted = not quoted
            index += 1
        elif letter == "$":
            value, index = _variable(word, index + 1, lookup, escape)
            yield value
        else:
            yield letter
            index += 1
    if quoted:
        raise IndexError(word)


def _variable(word: str, index: int, lookup: Lookup, escape: str) -> tuple[str | None, int]:
    """Return the value of the variable whose name begins at *index*, and where it ends."""
    if word[index : index + 1] != "{":
        named = _NAME.match(word, index)
        if named is None:
            return "$", index
        return lookup(named[0]), named.end()
    end = _closing_brace(word, index)
    inside = word[index + 1 : end]
    found = _BRACED.match(inside)
    if found is None:
        return None, end + 1
    name, operator, rest = found[1], found[2], inside[found.end() :]
    if operator is None:
        # What cuts a pattern from the value is left to the builder.
        return (None if rest else lookup(name)), end + 1
    value = lookup(name)
    if value is None:
        return None, end + 1
    # A variable that is not set counts as empty here, as it does without an operator.
    if operator.endswith("+"):
        return (expand(rest, lookup, escape=escape) if value else ""), end + 1
    if value or operator.endswith("?"):
        return value, end + 1
    return expand(rest, lookup, escape=escape), end + 1


def _closing_brace(word: str, index: int) -> int:
    depth = 0
    for place in range(index, len(word)):
        depth += (word[place] == "{") - (word[place] == "}")
        if depth == 0:
            return place
    raise IndexError(word)
