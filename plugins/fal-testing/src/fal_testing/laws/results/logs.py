"""Laws of logs: all that is printed arrives, before the result."""

from __future__ import annotations

import time
from typing import Any

from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import (
    LINES,
    expect,
    expect_lines,
    expect_printed,
    printed_before_outcome,
)
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow


def test_lines_arrive_before_the_result(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Every line that was printed arrives before the outcome, in its order."""

    @isolated()
    def recite() -> None:
        for number in range(50):
            print("line", number)

    recorder = follow(recite)
    recorder.result(law_timeout)
    expect_lines(recorder, [f"line {number}" for number in range(50)])


def test_the_last_line_needs_no_end(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A last line without a line end arrives as well."""

    @isolated()
    def prompt() -> None:
        print("first")
        print("> ", end="")

    recorder = follow(prompt)
    recorder.result(law_timeout)
    expect_lines(recorder, ["first", "> "])


def test_lines_before_an_error_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Lines printed before the function raised arrive before the error."""

    @isolated()
    def complain() -> None:
        print("before")
        raise LookupError("gone")

    recorder = follow(complain)
    recorder.wait(law_timeout)
    expect_lines(recorder, ["before"])


def test_errors_are_printed_as_such(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Lines printed to standard error have the level ``STDERR``."""

    @isolated()
    def warn() -> None:
        import sys

        print("plain")
        print("careful", file=sys.stderr)

    recorder = follow(warn)
    recorder.result(law_timeout)
    expect_lines(recorder, ["plain"])
    expect_lines(recorder, ["careful"], level="STDERR")


def test_lines_arrive_as_they_were_printed(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Empty lines, blanks, tabs and letters of any script are kept."""
    lines = ["", "  indented\t", "", "日本語 ä 🙂", "a\rb", "end  "]

    @isolated()
    def show(lines: list[str]) -> None:
        print("\n".join(lines))

    recorder = follow(show, lines)
    recorder.result(law_timeout)
    expect_lines(recorder, lines)


def test_a_long_line_arrives_whole(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A line of 60,000 characters is one line."""

    @isolated()
    def show() -> None:
        print("0123456789" * 6000)

    recorder = follow(show)
    recorder.result(law_timeout)
    expect_lines(recorder, ["0123456789" * 6000])


def test_many_lines_arrive(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """Printing much at once loses nothing."""

    @isolated()
    def flood() -> None:
        print("\n".join(str(number) for number in range(2000)))

    recorder = follow(flood)
    recorder.result(law_timeout)
    expect_lines(recorder, [str(number) for number in range(2000)])


def test_lines_name_their_call(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """A line carries the id of the call that printed it, and the user as its source."""

    @isolated()
    def introduce() -> None:
        print("here")

    first, second = follow(introduce), follow(introduce)
    for recorder in (first, second):
        recorder.result(law_timeout)
        assert recorder.call is not None
        expect(
            [log.call_id for log in recorder.printed],
            [recorder.call.id],
            "The ids of calls in the lines that the function printed",
            "Pass on call_id of each Log, and give it to lines that the host itself reads.",
        )


def test_lines_name_their_time(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """
    A line carries the time when it was printed, in seconds since the epoch, rising.

    The clock of another machine may be off by up to an hour.
    """

    @isolated()
    def speak() -> None:
        for number in range(3):
            print("line", number)

    recorder = follow(speak)
    recorder.result(law_timeout)
    times = [log.time for log in recorder.printed if log.message.startswith("line")]
    expect(len(times), 3, "The number of lines that arrived", LINES)
    look = "Pass on time of each Log: when the line was printed, in seconds since the epoch."
    expect(times, sorted(times), "The times of the lines", look)
    off = [at - time.time() for at in times]
    assert all(abs(seconds) < 3600 for seconds in off), (
        f"The times of the lines are off by {off} seconds; expected less than an hour. {look}"
    )


@requires("cancel")
def test_a_line_arrives_while_the_function_runs(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Lines are not kept back until the function has ended."""

    @isolated()
    def announce(seconds: float) -> None:
        import time

        print("waiting")
        time.sleep(seconds)

    recorder = follow(announce, 10 * law_timeout)
    recorder.wait_for_line("waiting", law_timeout)
    assert not recorder.ended, (
        "A line arrived when the function had ended; expected it while the function runs. "
        f"Pass on each Log at once. These events came: {recorder.told}."
    )


@requires("crash")
def test_lines_printed_below_python_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Text that libraries write to the file descriptors arrives like what Python prints."""

    @isolated()
    def write_below() -> None:
        import os

        os.write(1, b"below\n")
        os.write(2, b"careful\n")

    recorder = follow(write_below)
    recorder.result(law_timeout)
    expect_lines(recorder, ["below"])
    expect_lines(recorder, ["careful"], level="STDERR")


@requires("crash")
def test_lines_of_child_processes_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """What a child of the function prints arrives before the result."""

    @isolated()
    def run_child() -> int:
        import subprocess
        import sys

        return subprocess.run([sys.executable, "-c", "print('from the child')"]).returncode

    recorder = follow(run_child)
    expect(recorder.result(law_timeout), 0, "The exit code of the child", LINES)
    lines = printed_before_outcome(recorder)
    assert "from the child" in lines, (
        f"The lines that arrived before the outcome: expected 'from the child', found {lines}. "
        "A child writes to the descriptors 1 and 2 of the worker: read them to their end."
    )


@requires("crash")
def test_bytes_that_are_no_text_arrive_readable(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Bytes that are not UTF-8 arrive escaped, and block nothing."""

    @isolated()
    def write() -> None:
        import os

        os.write(1, b"caf\xe9\nnext\n")

    recorder = follow(write)
    recorder.result(law_timeout)
    lines = printed_before_outcome(recorder)
    first = lines[0] if lines else ""
    readable = first.startswith("caf") and "xe9" in first and lines[1:] == ["next"]
    assert readable, (
        f"The lines that the function printed: expected ['caf\\\\xe9', 'next'], found {lines}. "
        "Decode what was printed as UTF-8 with errors='backslashreplace'."
    )


@requires("crash")
def test_a_record_is_one_event(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """
    What a function logs and no handler takes arrives from ``WARNING`` on, each record as one
    event with its level and its traceback; so does a warning.

    Hosts may lose the name of the logger.
    """

    @isolated()
    def log_something() -> None:
        import logging
        import warnings

        print("before")
        logger = logging.getLogger("law.records")
        logger.info("unheard")
        logger.warning("careful: %d", 1)
        try:
            raise LookupError("gone")
        except LookupError:
            logger.exception("lost\nindeed")
        warnings.warn("old", UserWarning, stacklevel=1)

    recorder = follow(log_something)
    recorder.result(law_timeout)
    look = "A record is one Log with its level and whole text: pass it on undivided."
    expect(
        [(log.level, log.message.partition("\n")[0].strip()) for log in recorder.printed[:3]],
        [("STDOUT", "before"), ("WARNING", "careful: 1"), ("ERROR", "lost")],
        "The levels and first lines of what was printed and logged",
        look,
    )
    what = "The number of lines and records"
    expect(len(recorder.printed), 4, what, look)
    printed, careful, lost, old = recorder.printed
    lines = lost.message.splitlines()
    expect(
        [*lines[1:3], *lines[-1:]],
        ["indeed", "Traceback (most recent call last):", "LookupError: gone"],
        "The text of a record of two lines and a traceback",
        look,
    )
    warned = (old.level, "UserWarning: old" in old.message)
    expect(warned, ("WARNING", True), f"A warning that arrived as {old}", look)
    names = {careful: "law.records", lost: "law.records", old: "py.warnings"}
    for log, name in {printed: None, **names}.items():
        assert log.logger in (None, name), (
            f"The logger of {log.message!r}: expected {name!r} or None, found {log.logger!r}. "
            "Pass on logger of each Log, or leave it None."
        )


@requires("keep_alive", "option max_concurrency")
def test_a_thread_left_behind_prints_for_no_other_call(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """What a thread prints after its call has ended is in the log of no other call."""

    @isolated(max_concurrency=1, keep_alive=60)
    def leave_a_thread() -> None:
        import sys
        import threading
        import time

        left: Any = sys.modules.setdefault("fal_core_law_left", type(sys)("fal_core_law_left"))
        left.lines = 0

        def go_on() -> None:
            while left.lines >= 0:
                print("left behind")
                left.lines += left.lines >= 0
                time.sleep(0.001)

        threading.Thread(target=go_on, daemon=True).start()

    @isolated(max_concurrency=1, keep_alive=60)
    def wait_for_the_thread() -> None:
        import sys
        import time

        left: Any = sys.modules.get("fal_core_law_left")
        until = left.lines + 10 if left is not None else 0
        while left is not None and left.lines < until:
            time.sleep(0.001)
        if left is not None:
            left.lines = -1
        print("here")

    follow(leave_a_thread).result(law_timeout)
    recorder = follow(wait_for_the_thread)
    recorder.result(law_timeout)
    expect_printed(
        recorder,
        ["here"],
        "What comes on a worker's stream after the end of a call belongs to no later call.",
    )
