"""What child processes of builds print, line by line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from fal_core.errors import Cancelled
from fal_core.stores import exiting, read_lines


@contextmanager
def printing(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run *code* in a process, which has ended when the context does."""
    with subprocess.Popen(
        [sys.executable, "-u", "-I", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        yield process
        process.kill()


def outputs_of(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the descriptors of what *process* prints and complains."""
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.fileno(), process.stderr.fileno()


def test_lines_of_several_outputs_are_told_apart() -> None:
    """
    Each line comes with the output it is of, progress bars in pieces, and an unfinished line
    at the end.
    """
    code = "import os; os.write(2, b'bad\\n'); os.write(1, b'10%\\r20%\\r\\nlast')"
    with printing(code) as process:
        out, error = outputs_of(process)
        found = list(
            read_lines(
                out,
                error,
                cancelled=Event(),
                has_ended=lambda: process.poll() is not None,
            )
        )
    assert [line for output, line in found if output == out] == ["10%", "20%", "", "last"]
    assert [line for output, line in found if output == error] == ["bad"]


def test_process_that_was_left_behind_is_not_waited_for() -> None:
    """The lines end with the child process, though another process holds its output."""
    code = (
        "import subprocess, sys\n"
        "sleeper = [sys.executable, '-c', 'import sys; sys.stdin.read()']\n"
        "print(subprocess.Popen(sleeper).pid)"
    )
    with printing(code) as process:
        out, _ = outputs_of(process)
        lines = read_lines(out, cancelled=Event(), has_ended=lambda: process.poll() is not None)
        [(_, pid)] = lines
        os.kill(int(pid), 0)


@pytest.mark.parametrize("event", ["cancelled", "exiting"])
def test_nobody_waits_for_lines_any_more(event: str) -> None:
    """Silence ends with the build: when its call is cancelled, and when this process ends."""
    cancelled = Event()
    chosen = cancelled if event == "cancelled" else exiting
    with printing("print(1); import sys; sys.stdin.read()") as process:
        out, _ = outputs_of(process)
        lines = read_lines(out, cancelled=cancelled, has_ended=lambda: False)
        try:
            assert next(lines) == (out, "1")
            chosen.set()
            with pytest.raises(Cancelled):
                next(lines)
        finally:
            exiting.clear()


def test_a_line_without_an_end_is_cut() -> None:
    """It does not fill the memory, and nothing of it is lost."""
    with printing("import sys; sys.stdout.write('a' * 200_000 + '\\nb')") as process:
        out, _ = outputs_of(process)
        found = list(
            read_lines(
                out,
                cancelled=Event(),
                has_ended=lambda: process.poll() is not None,
                longest=1000,
            )
        )
    lines = [line for _, line in found]
    assert "".join(lines) == "a" * 200_000 + "b"
    assert len(lines) > 2
