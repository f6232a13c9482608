"""The executor of one call at a time: calls that time out, or that fork their worker."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import Timeout, function
from fal_host_local import LocalHost


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_a_child_is_ended_by_a_signal_as_soon_as_it_was_forked():
    """A signal that ends a forked child is not lost, however early it comes."""

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
    """A function that forks and returns on both sides answers once."""

    @function("current")
    def fork() -> int:
        return 1 if os.fork() else 2

    assert fork() == 1
    assert function("current")(lambda x: x + 1)(1) == 2


def leave_child(way: str) -> int:
    """Fork a child that leaves the function in *way*, and return its exit code."""
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
    """A child that leaves one call of a batch leaves the others to its parent."""
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
    """A child of a generator ends at its next item, and says what to do."""

    @function("current", host=local_host)
    def give() -> Iterator[int]:
        child = os.fork()
        yield 1
        assert child
        yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert list(give()) == [1, 1]
    assert "Leave the child by os._exit()" in capfd.readouterr().err


def test_a_call_that_takes_too_long_is_ended(local_host: LocalHost):
    """A timeout ends the call, and its worker serves the next one."""
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


def test_builtins_that_a_function_has_replaced_break_no_other_call(local_host: LocalHost):
    """
    A worker whose builtins a function has replaced or removed takes no other call, and a line
    says so; its own call ends as it would have.
    """
    isolated = function("current", host=local_host, max_concurrency=1)

    def poison(name: str) -> int:
        import builtins
        import os

        pid = os.getpid()
        if name == "len":
            del builtins.len
        else:
            setattr(builtins, name, None)
        return pid

    def count(words: list[str]) -> tuple[int, int]:
        assert isinstance(words, list)
        return len(words), os.getpid()

    for name in ("len", "isinstance", "open", "dict"):
        info = isolated(poison).spawn(name)
        pid = info.return_value
        said = [log.message for log in iter_logs(info)]
        assert said == [
            f"The function has replaced builtins of Python ({name}), so this worker takes no "
            "other call."
        ]
        found, other = isolated(count)(["a", "b"])
        assert (found, other != pid) == (2, True)


def test_builtins_that_a_function_breaks_are_there_for_its_error(local_host: LocalHost):
    """A function that replaces builtins and fails has its own error, alone and in a batch."""
    isolated = function("current", host=local_host, max_concurrency=1)

    def poison(number: int) -> int:
        import builtins

        builtins.isinstance = builtins.type = None  # type: ignore[assignment]
        raise LookupError(number)

    with pytest.raises(LookupError, match="3"):
        isolated(poison)(3)
    outcomes = list(isolated(poison).map(range(3), return_exceptions=True))
    assert [type(each) for each in outcomes] == [LookupError] * 3
    assert isolated(os.getpid)() > 0


def test_a_function_may_wrap_builtins_that_others_wrap(local_host: LocalHost):
    """A worker lives on where a function has wrapped ``print`` or added a name, as libraries do."""
    isolated = function("current", host=local_host, max_concurrency=1)

    def wrap() -> int:
        import builtins
        import os

        before = builtins.print
        builtins.print = lambda *words, **more: before("wrapped", *words, **more)
        builtins.translated = str  # type: ignore[attr-defined]
        return os.getpid()

    assert isolated(wrap)() == isolated(wrap)() == isolated(os.getpid)()


def iter_logs(info: Any) -> Iterator[Any]:
    while not info.logs.empty():
        yield info.logs.get()


@pytest.mark.parametrize("way", ["call", "submit", "spawn", "map", "stream", "request"])
def test_a_function_that_stops_its_worker_has_its_time(way: str, local_host: LocalHost):
    """The time of a call holds also where its worker was stopped, and reads nothing any more."""
    limit: dict[str, Any] = {"request_timeout": 0.5} if way == "request" else {"timeout": 0.5}
    isolated = function("current", host=local_host, max_concurrency=1, grace=0.2, **limit)

    def stop(data: bytes) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def stop_stream(data: bytes) -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGSTOP)
        yield 2

    data = os.urandom(1 << 20)
    ways: dict[str, Callable[[], Any]] = {
        "call": lambda: isolated(stop)(data),
        "request": lambda: isolated(stop)(data),
        "submit": lambda: isolated(stop).submit(data).result(60),
        "spawn": lambda: isolated(stop).spawn(data).return_value,
        "map": lambda: list(isolated(stop).map([data, data])),
        "stream": lambda: list(isolated(stop_stream)(data)),
    }
    with pytest.raises(Timeout):
        ways[way]()
    assert function("current", host=local_host, max_concurrency=1)(os.getpid)() > 0


@pytest.mark.parametrize("way", ["call", "submit", "spawn", "map"])
def test_a_call_of_a_worker_that_was_stopped_has_its_time(way: str, local_host: LocalHost):
    """So it is where the worker was stopped before it has read what the function is called with."""
    isolated = function("current", host=local_host, max_concurrency=1, timeout=0.5, grace=0.1)
    # Too much for the connection, and none that is sent in shared memory.
    words = [str(number) * 100 for number in range(10_000)]
    pid = function("current", host=local_host, max_concurrency=1)(os.getpid)()
    os.kill(pid, signal.SIGSTOP)
    # The time of an item begins when it runs.
    limited = function("current", host=local_host, max_concurrency=1, request_timeout=1)
    ways: dict[str, Callable[[], Any]] = {
        "call": lambda: isolated(len)(words),
        "submit": lambda: isolated(len).submit(words).result(60),
        "spawn": lambda: isolated(len).spawn(words).return_value,
        "map": lambda: list(limited(len).map([words, words])),
    }
    with pytest.raises(Timeout):
        ways[way]()
    assert function("current", host=local_host, max_concurrency=1)(len)(words) == 10_000
