"""Lines of calls, with and without marks."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fal_core import function
from fal_core.calls import Call
from fal_core.events import Log
from fal_host_serverless import FalServerlessHost
from fal_host_serverless.far_end import marked_output
from fal_host_serverless.running import executions
from fal_host_serverless.running.executions import CallLines


def make_call() -> Call:
    """Return a call whose lines can be read."""

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"))
    def nothing() -> None:
        return None

    return nothing.make_launcher().call(((), {}))


CALL = make_call()


LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


@example("\t", "STDOUT", 2)
@example('"', "STDOUT", 2)
@given(LINES, st.sampled_from(["STDOUT", "STDERR", "INFO", "ERROR"]), st.integers(0, 2))
@example('"', "STDOUT", 2)
@example("\\\t", "STDERR", 2)
@example("\U0001f600", "INFO", 2)
def test_lines_survive_what_isolate_does_to_them(line: str, level: str, times: int):
    """
    A line arrives whole, with its level and owner, wherever the agent's parent splits the
    output.
    """
    from fal_core_worker.stream.frames import LEVELS

    line = line * 4000 if times == 2 else line
    owner = "request a:b" if times else ""
    read = CallLines(CALL)
    found: list[Log] = []
    for piece in marked_output.encode(line, LEVELS.index(level), owner):
        assert len(piece) <= 4096
        parts = piece.decode("utf-8", "backslashreplace").splitlines()
        assert len(parts) == 1
        log = read.read(parts[0], "INFO", 1.0)
        found += [] if log is None else [log]
    (log,) = found
    assert (log.message, log.level) == (line, level)
    assert log.request_id == ("a:b" if times else None)


@pytest.mark.parametrize("line", ["plain", "\x1f", "a\x1ffal-core:", "\x1ffal-core:9::", ""])
def test_lines_without_a_mark_stay_as_they_are(line: str):
    """A line without a valid mark is a line of the call."""
    log = CallLines(CALL).read(line, "INFO", 1.0)
    assert log == Log(line, "STDOUT", "USER", 1.0, CALL.id)


@given(
    st.sampled_from(["", "text", '"text"', "[1]", "{", "[" * 100_000]) | LINES,
    st.sampled_from(["0", "9", "²", ""]) | LINES,
    st.sampled_from(["", "e", "e+", "+", "o", "s"]) | LINES,
    LINES,
)
def test_marks_that_a_function_prints_break_nothing(
    text: str, number: str, flags: str, owner: str
):
    """Lines that look as if the far end had written them are read as lines or as parts of one."""
    lines = CallLines(CALL)
    for _ in range(2):
        log = lines.read(f"{text}{marked_output.MARK}{number}:{flags}:{owner}", "INFO", 1.0)
        assert log is None or isinstance(log.message, str)


def test_a_line_without_end_is_cut(monkeypatch: pytest.MonkeyPatch):
    """No more of a line is put together than a line may be long, and of so many at once."""
    monkeypatch.setattr(executions, "_LONGEST", 10)
    monkeypatch.setattr(executions, "_MOST", 2)
    lines = CallLines(CALL)
    part = f'"1234"{marked_output.MARK}0:e+:'
    assert [lines.read(part, "INFO", 1.0) for _ in range(2)] == [None, None]
    whole = lines.read(part, "INFO", 1.0)
    assert whole is not None
    assert whole.message == "1234" * 3
    read = [lines.read(f"{part}request {number}", "INFO", 1.0) for number in range(3)]
    assert [log is None for log in read] == [True, True, False]
    # The limit is one for all of them together.
    monkeypatch.setattr(executions, "_MOST", 100)
    assert lines.read(f"{part}request 3", "INFO", 1.0) is not None
