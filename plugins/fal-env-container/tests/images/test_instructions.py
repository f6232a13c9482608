"""Dockerfiles, read as Docker reads them."""

from __future__ import annotations

import textwrap

import pytest

from fal_core.errors import OptionError
from fal_env_container.images.instructions import Instruction, parse


def read(text: str) -> list[Instruction]:
    return list(parse(textwrap.dedent(text).lstrip("\n")))


def test_lines_are_joined_and_comments_left_out():
    """
    An instruction goes on behind an escape at the end of a line, past comments and empty
    lines.
    """
    run, copy = read(
        r"""
        # A comment.
        run one \
            # Not this.

            two \\
        COPY a \
          b
        """
    )
    assert run.keyword == "RUN"
    assert run.text.split() == ["one", "two", "\\\\"]
    assert (copy.words, copy.line) == (("a", "b"), 6)


def test_escape_is_the_one_that_a_directive_names():
    """The directive ``escape`` makes the backslash an ordinary character."""
    copy, run = read(
        """
        # escape=`
        COPY c:\\ `
          d
        RUN x
        """
    )
    assert copy.words == ("c:\\", "d")
    assert run.text == "x"


def test_options_and_json_lists_are_split():
    """Options come before the arguments, which may be a JSON list."""
    copy, shell = read(
        """
        COPY --from=builder --chown=1:2 --link ["a b", "/c"]
        COPY ["a b /c
        """
    )
    assert copy.flags == (("from", "builder"), ("chown", "1:2"), ("link", ""))
    assert copy.words == ("a b", "/c")
    assert shell.words == ('["a', "b", "/c")


def test_heredocs_are_no_instructions():
    """The lines of a heredoc belong to the instruction before them."""
    copy, run, last = read(
        """
        COPY <<one.txt <<-"two" /to/
        COPY not this
        one.txt
        \ttwo
        RUN <<EOF cat
        FROM nothing
        EOF
        CMD x
        """
    )
    assert copy.heredocs == ("one.txt", "two")
    assert (run.keyword, run.heredocs) == ("RUN", ("EOF",))
    assert last.keyword == "CMD"
    with pytest.raises(OptionError, match="'EOF'"):
        read("RUN <<EOF\necho")


def test_places_of_instructions_are_known():
    """The text between an instruction's start and its end is the instruction."""
    text = "FROM a\n  RUN <<X\nhi\nX\nCMD b"
    places = [text[each.start : each.end] for each in parse(text)]
    assert places == ["FROM a\n", "RUN <<X\nhi\nX\n", "CMD b"]
    [_, run, _] = parse(text)
    assert text[run.after_keyword :].startswith(" <<X")
