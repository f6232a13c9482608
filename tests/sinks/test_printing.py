"""Printing: log lines of functions appear where their caller prints."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import IO

import pytest

from fal_core.events import Log
from fal_core.sinks.printing import print_log
from fal_core.sinks.records import decode_event, encode_event

#: What nothing prints, and a terminal passes on as it is.
END = "\x1e"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """A terminal, to be written to."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = os.openpty()
    stream = open(theirs, "w", encoding="utf-8")  # noqa: SIM115  # closed below
    with open(ours, "r+b", buffering=0) as other, stream:
        stream.screen = other  # type: ignore[attr-defined]  # this test's own
        yield stream


def show(stream: IO[str], *logs: Log) -> None:
    """Print *logs* where *stream* is the standard output, and the error output as well."""
    with redirect_stdout(stream), redirect_stderr(stream):
        for log in logs:
            print_log(log)


def screen(stream: IO[str]) -> list[str]:
    """Return the rows that the terminal shows."""
    stream.write(END)
    stream.flush()
    descriptor = stream.screen.fileno()  # type: ignore[attr-defined]  # this test's own
    text = ""
    # A terminal gives what was written in pieces, each when it comes to that.
    while not text.endswith(END):
        assert select.select([descriptor], [], [], 60)[0], text
        text += os.read(descriptor, 65536).decode()
    rows = []
    for row in text.removesuffix(END).replace("\r\n", "\n").split("\n"):
        rows.append(row.rpartition("\r\033[K")[2])
    return rows


def test_a_line_that_has_not_ended_is_drawn_over(terminal: IO[str]) -> None:
    """On a terminal a progress bar moves, and leaves its last state."""
    show(terminal, Log("step 1", partial=True), Log("step 2", partial=True))
    assert screen(terminal) == ["step 2"]
    show(terminal, Log("step 3"))
    assert screen(terminal) == ["step 3", ""]


def test_another_line_takes_the_place_of_one_that_has_not_ended(terminal: IO[str]) -> None:
    """A line of another call is not written behind a progress bar."""
    show(
        terminal,
        Log("step 1", "STDERR", call_id="a", partial=True),
        Log("hello", call_id="b"),
        Log("step 2", "STDERR", call_id="a", partial=True),
    )
    assert screen(terminal) == ["hello", "step 2"]
    show(terminal, Log("step 2", "STDERR", call_id="a"))


def test_a_line_of_one_of_several_nodes_says_of_which(
    terminal: IO[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of a call that runs on several nodes begin with the number of the node."""
    show(terminal, Log("step 1", rank=1, partial=True))
    assert screen(terminal) == ["[1] step 1"]
    print_log(Log("hello", rank=0))
    print_log(Log("lost", "ERROR", rank=12))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("[0] hello\n", "[12] lost\n")


def test_a_long_line_is_cut_where_it_is_drawn(terminal: IO[str]) -> None:
    """
    Only as much as fits in one row is drawn, so that it can be drawn over; the finished line is
    printed whole.
    """
    show(terminal, Log("\033[31m" + "x" * 500 + "\033[0m", partial=True))
    (row,) = screen(terminal)
    assert set(row) == {"x"}
    assert len(row) < 500
    show(terminal, Log("x" * 500))
    assert screen(terminal) == ["x" * 500, ""]


def test_a_file_has_whole_lines_alone() -> None:
    """A file gets each line when it has ended, and no partial lines."""
    file = io.StringIO()
    show(file, *(Log(f"step {step}", partial=True) for step in range(5)), Log("step 5"))
    assert file.getvalue() == "step 5\n"


def test_a_line_that_has_not_ended_is_kept_as_one() -> None:
    """A partial line keeps its mark in a journal."""
    log = Log("step 1", "STDERR", "USER", 1.5, "call", partial=True)
    assert decode_event(encode_event(log)) == log


def test_a_line_that_several_calls_get_is_printed_once() -> None:
    """What a worker prints for it knows not which of its calls is one line, not one of each."""
    stream = io.StringIO()
    unknown, same = Log("hello"), Log("hello")
    show(stream, unknown, unknown, same, same)
    assert stream.getvalue() == "hello\n" * 2
