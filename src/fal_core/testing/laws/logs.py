"""
Laws of logs: all that is printed arrives, before the result.
"""

from __future__ import annotations

import time
from typing import Any

from fal_core.events import Log, Outcome
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.harness.recorders import Follow, Recorder


def messages(recorder: Recorder, level: str = "STDOUT") -> list[str]:
    """
    Return what was printed before the outcome.
    """
    at = next(
        index for index, event in enumerate(recorder.events) if isinstance(event, Outcome)
    )
    return [
        event.message
        for event in recorder.events[:at]
        if isinstance(event, Log) and not event.partial
        if event.level == level and event.source == "USER"
    ]


def test_lines_arrive_before_the_result(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Every line that was printed arrives before the outcome, in its order.
    """

    @isolated()
    def recite() -> None:
        for number in range(50):
            print("line", number)

    recorder = follow(recite)
    recorder.result(law_timeout)
    assert messages(recorder) == [f"line {number}" for number in range(50)]


def test_the_last_line_needs_no_end(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A last line without a line end arrives as well.
    """

    @isolated()
    def prompt() -> None:
        print("first")
        print("> ", end="")

    recorder = follow(prompt)
    recorder.result(law_timeout)
    assert messages(recorder) == ["first", "> "]


def test_lines_before_an_error_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Lines printed before the function raised arrive before the error.
    """

    @isolated()
    def complain() -> None:
        print("before")
        raise LookupError("gone")

    recorder = follow(complain)
    recorder.wait(law_timeout)
    assert messages(recorder) == ["before"]


def test_errors_are_printed_as_such(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Lines printed to standard error have the level ``STDERR``.
    """

    @isolated()
    def warn() -> None:
        import sys

        print("plain")
        print("careful", file=sys.stderr)

    recorder = follow(warn)
    recorder.result(law_timeout)
    assert messages(recorder) == ["plain"]
    assert messages(recorder, "STDERR") == ["careful"]


def test_lines_arrive_as_they_were_printed(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Empty lines, blanks, tabs and letters of any script are kept.
    """
    lines = ["", "  indented\t", "", "日本語 ä 🙂", "a\rb", "end  "]

    @isolated()
    def show(lines: list[str]) -> None:
        print("\n".join(lines))

    recorder = follow(show, lines)
    recorder.result(law_timeout)
    assert messages(recorder) == lines


def test_a_long_line_arrives_whole(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A line of 60,000 characters is one line.
    """

    @isolated()
    def show() -> None:
        print("0123456789" * 6000)

    recorder = follow(show)
    recorder.result(law_timeout)
    assert messages(recorder) == ["0123456789" * 6000]


def test_many_lines_arrive(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """
    Printing much at once loses nothing.
    """

    @isolated()
    def flood() -> None:
        print("\n".join(str(number) for number in range(2000)))

    recorder = follow(flood)
    recorder.result(law_timeout)
    assert messages(recorder) == [str(number) for number in range(2000)]


def test_lines_name_their_call(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """
    A line carries the id of the call that printed it, and the user as its source.
    """

    @isolated()
    def introduce() -> None:
        print("here")

    first, second = follow(introduce), follow(introduce)
    for recorder in (first, second):
        recorder.result(law_timeout)
        (log,) = (log for log in recorder.printed if log.message == "here")
        assert recorder.call is not None
        assert log.call_id == recorder.call.id


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
    assert len(times) == 3
    assert times == sorted(times)
    assert all(abs(at - time.time()) < 3600 for at in times)


@requires("cancel")
def test_a_line_arrives_while_the_function_runs(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Lines are not kept back until the function has ended.
    """

    @isolated()
    def announce(seconds: float) -> None:
        import time

        print("waiting")
        time.sleep(seconds)

    recorder = follow(announce, 10 * law_timeout)
    recorder.wait_for_line("waiting", law_timeout)
    assert not recorder.ended


@requires("crash")
def test_lines_printed_below_python_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Text that libraries write to the file descriptors arrives like what Python prints.
    """

    @isolated()
    def write_below() -> None:
        import os

        os.write(1, b"below\n")
        os.write(2, b"careful\n")

    recorder = follow(write_below)
    recorder.result(law_timeout)
    assert messages(recorder) == ["below"]
    assert messages(recorder, "STDERR") == ["careful"]


@requires("crash")
def test_lines_of_child_processes_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    What a child of the function prints arrives before the result.
    """

    @isolated()
    def run_child() -> int:
        import subprocess
        import sys

        return subprocess.run([sys.executable, "-c", "print('from the child')"]).returncode

    recorder = follow(run_child)
    assert recorder.result(law_timeout) == 0
    assert "from the child" in messages(recorder)


@requires("crash")
def test_bytes_that_are_no_text_arrive_readable(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Bytes that are not UTF-8 arrive escaped, and block nothing.
    """

    @isolated()
    def write() -> None:
        import os

        os.write(1, b"caf\xe9\nnext\n")

    recorder = follow(write)
    recorder.result(law_timeout)
    first, second = messages(recorder)
    assert first.startswith("caf")
    assert "xe9" in first
    assert second == "next"


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
    printed, careful, lost, old = recorder.printed
    assert (printed.level, printed.message, printed.logger) == ("STDOUT", "before", None)
    assert (careful.level, careful.message) == ("WARNING", "careful: 1")
    first, second, *trace = lost.message.splitlines()
    assert (lost.level, first, second) == ("ERROR", "lost", "indeed")
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "LookupError: gone"
    assert (old.level, "UserWarning: old" in old.message) == ("WARNING", True)
    assert {careful.logger, lost.logger} <= {None, "law.records"}
    assert old.logger in (None, "py.warnings")


@requires("keep_alive", "option max_concurrency")
def test_a_thread_left_behind_prints_for_no_other_call(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    What a thread prints after its call has ended is in the log of no other call.
    """

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
    assert [log.message for log in recorder.printed] == ["here"]
