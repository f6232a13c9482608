"""
The executor of one call at a time: calls that time out, or that fork their worker.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import Timeout, function
from fal_host_local import LocalHost


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_a_child_is_ended_by_a_signal_as_soon_as_it_was_forked():
    """
    A signal that ends a forked child is not lost, however early it comes.
    """

    @function("current")
    def fork() -> list[int]:
        endings = []
        for _ in range(300):
            child = os.fork()
            if not child:
                # Ends by the signal.
                time.sleep(30)
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            endings.append(os.waitpid(child, 0)[1])
        return endings

    assert set(fork()) == {signal.SIGTERM}


@pytest.mark.faults
def test_the_fork_of_a_worker_does_not_answer_twice():
    """
    A function that forks and returns on both sides answers once.
    """

    @function("current")
    def fork() -> int:
        return 1 if os.fork() else 2

    assert fork() == 1
    assert function("current")(lambda x: x + 1)(1) == 2


def leave_child(way: str) -> int:
    """
    Fork a child that leaves the function in *way*, and return its exit code.
    """
    warnings.simplefilter("ignore")
    child = os.fork()
    if not child:
        print(f"child {way}")
        if way == "exit":
            sys.exit(5)
        if way == "text":
            sys.exit("a last word")
        if way == "raise":
            raise ValueError("in the child")
        if way == "interrupt":
            raise KeyboardInterrupt
        return 3
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def leave_child_later(way: str) -> int:
    return leave_child(way)


WAYS = {"exit": 5, "text": 1, "raise": 1, "interrupt": -signal.SIGINT, "return": 0}


@pytest.mark.parametrize("body", [leave_child, leave_child_later])
@pytest.mark.parametrize("how", ["call", "map"])
@pytest.mark.parametrize("multiplexing", [1, 2])
def test_a_forked_child_ends_as_a_program_does(
    body: Any, how: str, multiplexing: int, local_host: LocalHost, capfd: Any
) -> None:
    """
    A child that leaves its function has the exit code and the last lines that Python gives a
    program.
    """
    isolated = function("current", host=local_host, max_multiplexing=multiplexing)(body)
    codes = list(isolated.map(WAYS) if how == "map" else map(isolated, WAYS))
    assert codes == list(WAYS.values())
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == sorted(f"child {way}" for way in WAYS)
    assert "a last word" in err
    assert "ValueError: in the child" in err
    assert 'raise ValueError("in the child")' in err
    assert "fal_core_worker" not in err


def test_a_forked_child_runs_no_other_call_of_its_batch(tmp_path: Path) -> None:
    """
    A child that leaves one call of a batch leaves the others to its parent.
    """
    runs = tmp_path / "runs"

    @function("current")
    def fork(number: int) -> None:
        with open(runs, "a") as file:
            file.write(f"{number}\n")
        child = os.fork()
        if child:
            os.waitpid(child, 0)

    list(fork.map(range(20)))
    assert sorted(map(int, runs.read_text().split())) == list(range(20))


def test_a_forked_child_that_yields_is_told_why_it_cannot(
    local_host: LocalHost, capfd: Any
) -> None:
    """
    A child of a generator ends at its next item, and says what to do.
    """

    @function("current", host=local_host)
    def give() -> Iterator[int]:
        child = os.fork()
        yield 1
        assert child
        yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert list(give()) == [1, 1]
    assert "Leave the child by os._exit()" in capfd.readouterr().err


def test_a_call_that_takes_too_long_is_ended(local_host: LocalHost):
    """
    A timeout ends the call, and its worker serves the next one.
    """
    options = {"max_concurrency": 1, "timeout": 0.3}
    # After the grace its worker would be killed.
    isolated = function("current", host=local_host, grace=60, **options)(sleep)
    in_time = isolated.with_policy(timeout=None)
    pid = in_time(0)

    with pytest.raises(Timeout, match=r"0\.3 s"):
        isolated(300)
    with pytest.raises(Timeout):
        isolated.submit(300).result(timeout=60)
    assert in_time(0) == pid
