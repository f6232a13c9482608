"""Tables: rows of cells that fit the terminal, and break between words."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import IO

import click

from fal_core.cli.outputs import is_terminal, styled

#: What stands between two columns.
_GAP = "  "
#: Columns that text has which is broken at any width.
_NARROWEST = 16


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, breaks_last: bool = False
) -> None:
    """
    Print *rows* in columns under *headings*.

    On a terminal cells are broken between words, so that the table fits; if no such table
    fits, each row is printed as lines of its own. Elsewhere each row is one line.

    Arguments:
        breaks_last: Whether words of the last column may be broken, too, for which a table
            fits more often.
    """
    limit = find_width(sys.stdout)
    widths = fit_columns([headings, *rows], limit, breaks_last=breaks_last)
    if widths is None:
        assert limit is not None
        for line in _records(headings, rows, limit):
            click.echo(line)
        return
    for number, row in enumerate((headings, *rows)):
        for line in row_lines(row, widths):
            click.echo(styled(line, sys.stdout, bold=True) if number == 0 else line)


def find_width(stream: IO[str]) -> int | None:
    """Return how many columns a line on *stream* has. None where any number is fine."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def beside(title: str, text: str) -> list[str]:
    """
    Return the lines of *text* after *title*, under which none of them begins. On a terminal
    they are broken between words, so that they fit.
    """
    limit = find_width(sys.stdout)
    if limit is None:
        return [f"{title}{text}"]
    first, *rest = wrap(text, max(limit - len(title), _NARROWEST))
    return [f"{title}{first}", *(f"{'':{len(title)}}{line}" for line in rest)]


def fit_columns(
    rows: Sequence[Sequence[str]], limit: int | None, *, breaks_last: bool = False
) -> list[int] | None:
    """
    Return a width for each column of *rows* that keeps lines within *limit*. None if words
    would have to be broken for that, other than those of a last column that *breaks_last*.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if limit is None:
        return widths
    least = [max(map(_longest_word, column)) for column in columns]
    if breaks_last:
        least[-1] = min(least[-1], _NARROWEST)
    room = limit - len(_GAP) * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        slack, widest = max(
            (width, number) for number, width in enumerate(widths) if width > least[number]
        )
        widths[widest] = slack - 1
    return widths


def row_lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of one *row*, whose cells are broken between words."""
    cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    most = widths[-1]
    # A word that is longer than its column begins a line of its own.
    cells[-1] = [
        line[at : at + most] for line in cells[-1] for at in range(0, len(line) or 1, most or 1)
    ]
    for number in range(max(map(len, cells))):
        parts = [
            (cell[number] if number < len(cell) else "").ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        ]
        yield _GAP.join(parts).rstrip()


def wrap(text: str, width: int) -> list[str]:
    """Return *text* in lines of *width*, broken between words alone."""
    if len(text) <= width:
        return [text]
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text,
        max(1, width),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _records(
    headings: Sequence[str], rows: Sequence[Sequence[str]], limit: int
) -> Iterator[str]:
    """Yield a line for each cell of each row, after its heading."""
    width = max(map(len, headings))
    for number, row in enumerate(rows):
        if number:
            yield ""
        for heading, cell in zip(headings, row, strict=True):
            first, *rest = wrap(cell, limit - width - len(_GAP))
            bold = styled(heading.ljust(width), sys.stdout, bold=True)
            yield f"{bold}{_GAP}{first}".rstrip()
            yield from (f"{'':{width}}{_GAP}{line}" for line in rest)
