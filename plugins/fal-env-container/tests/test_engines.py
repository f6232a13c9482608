"""What engines answer."""

from __future__ import annotations

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import Answer, ask


def test_problem_is_the_last_line():
    """What an engine says last is the reason, without its own prefix and full stop."""
    assert Answer(1, "", "x\nError: no such image.\n\n").problem == "no such image"
    assert Answer(1, "", "").problem == "it does not say why"


def test_program_that_does_not_start():
    """A program that cannot be started, or does not answer, is one sentence."""
    with pytest.raises(EnvironmentBuildError, match="/absent cannot be started: No such file"):
        ask(["/absent"])
    with pytest.raises(EnvironmentBuildError, match=r"sleep 60 has not answered within 0\.1 s"):
        ask(["sleep", "60"], seconds=0.1)


def test_answers_are_bounded_in_time_and_length():
    """A command that does not end, or does not stop to print, is ended."""
    with pytest.raises(EnvironmentBuildError, match=r"within 0\.2 s\. Call again if"):
        ask(["sleep", "600"], seconds=0.2)
    with pytest.raises(EnvironmentBuildError, match="prints more than 100000 bytes"):
        ask(["yes"], most=100_000)
    answer = ask(["sh", "-c", "echo out; echo Error: wrong. >&2; exit 3"])
    assert (answer.code, answer.output, answer.problem) == (3, "out\n", "wrong")
