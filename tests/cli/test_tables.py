"""Tables: they fit the terminal, and break between words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fal_core.cli.tables import fit_columns, row_lines, wrap

_STYLE = re.compile(r"\033\[[0-9;]*m")

TWO_HOSTS = '''
import attrs
from fal_core import hookimpl
from fal_testing import InProcessHost

fal_core_api = 1


@attrs.define(eq=False, slots=False)
class Wordy(InProcessHost):
    """
    Runs functions on a machine whose description is far longer than the line of a terminal.
    """

    name = "wordy"


@hookimpl
def fal_register_hosts():
    return [Wordy]
'''


def test_cells_are_broken_between_words() -> None:
    """Of a table that is too wide, the widest columns are narrowed, to their longest words."""
    rows = [("NAME", "WHAT IT IS"), ("first", "a description of several words")]
    assert fit_columns(rows, None) == [5, 30]
    assert fit_columns(rows, 37) == [5, 30]
    assert fit_columns(rows, 25) == [5, 18]
    assert list(row_lines(rows[1], [5, 18])) == [
        "first  a description of",
        "       several words",
    ]
    assert fit_columns(rows, 18) == [5, 11]
    assert fit_columns(rows, 17) is None


def test_words_of_the_last_column_may_be_broken() -> None:
    """A word that is longer than the column begins a line, and goes on in the next."""
    rows = [("NAME", "WHAT IT IS"), ("first", "from https://example.org/wheels")]
    assert fit_columns(rows, 23) is None
    assert fit_columns(rows, 23, breaks_last=True) == [5, 16]
    assert list(row_lines(rows[1], [5, 16])) == [
        "first  from",
        "       https://example.",
        "       org/wheels",
    ]


def test_what_is_indented_stays_so_on_its_further_lines() -> None:
    """The lines of a broken cell begin as the cell does."""
    assert wrap("  because of that", 12) == ["  because of", "  that"]


@pytest.mark.parametrize("command", [("hosts", "list"), ("hosts", "describe", "wordy")])
def test_table_fits_a_terminal_of_80_columns(
    command_line: Any, command: tuple[str, ...]
) -> None:
    """No line is longer than the terminal, and no word is broken."""
    command_line.install("wordy", TWO_HOSTS)
    code, sent = command_line.in_terminal(*command, columns=80)
    assert code == 0
    # The first line is a sentence, or headings.
    lines = _STYLE.sub("", sent).splitlines()[1:]
    assert max(map(len, lines)) <= 80
    words = set(_STYLE.sub("", sent).split())
    assert {"description", "terminal"} <= {word.rstrip(".") for word in words}


def test_row_that_cannot_fit_has_lines_of_its_own(command_line: Any) -> None:
    """In a terminal that is narrower than the words of a row, each cell follows its heading."""
    command_line.install("wordy", TWO_HOSTS)
    code, sent = command_line.in_terminal("hosts", "list", columns=17)
    assert code == 0
    lines = [line.rstrip() for line in _STYLE.sub("", sent).splitlines()]
    first = lines.index("NAME     wordy")
    assert lines[first + 1] == "SUMMARY  Runs"


def test_row_is_one_line_where_no_terminal_is(command_line: Any) -> None:
    """Programs that read a table get a line for each row."""
    command_line.install("wordy", TWO_HOSTS)
    rows = command_line("hosts", "list").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows if "longer than the line of a terminal" in row] == [
        "wordy"
    ]
