"""Variables of a Dockerfile."""

from __future__ import annotations

import pytest

from fal_env_container.images.substitutions import expand, split_pairs

VALUES = {"NAME": "src", "EMPTY": "", "TWO": "a b"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$NAME/x", "src/x"),
        ("${NAME}x", "srcx"),
        ("$MISSING", ""),
        ("${MISSING:-else}", "else"),
        ("${MISSING:-$NAME}", "src"),
        ("${NAME:-else}", "src"),
        ("${NAME:+yes}", "yes"),
        ("${EMPTY:+yes}", ""),
        ("${NAME:?needed}", "src"),
        (r"\$NAME", "$NAME"),
        ("'$NAME'", "$NAME"),
        ('"$NAME x"', "src x"),
        (r'"a\"b\c"', 'a"b\\c'),
        ("$TWO", "a b"),
        ("a$", "a$"),
        ("$UNKNOWN/x", None),
        ("${UNKNOWN:-x}", None),
        ("${NAME%c}", None),
        ("${NAME", None),
        ('"open', None),
    ],
)
def test_words_are_expanded(word: str, expected: str | None):
    """A word is what Docker makes of it; None where that is known only during the build."""
    known = {**VALUES, "UNKNOWN": None}
    assert expand(word, lambda name: known.get(name, "")) == expected


def test_pairs_are_split_outside_quotes():
    """Quotes and escapes keep white space in a value."""
    text = r'A=1 B="two words" C=three\ words D'
    assert dict(split_pairs(text)) == {
        "A": "1",
        "B": '"two words"',
        "C": r"three\ words",
        "D": None,
    }
