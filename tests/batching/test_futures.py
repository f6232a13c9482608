"""Futures of submitted calls."""

from __future__ import annotations

import sys
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import OptionError, Timeout, function
from fal_core.calling.late_executions import LateExecution
from fal_core.calls import Call
from fal_core.events import Exited, Item, Returned, Sealed, Sink, Started
from fal_core.hosts import Capabilities, Execution, Host
from fal_core_worker.opening import values
from fal_core_worker.stream.frames import VALUE
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def use(_: object) -> None:
    pass


def test_a_call_counts_until_its_callbacks_have_begun(local_host: LocalHost):
    """A program that ends while an answer is being taken waits for what is done with it."""
    counted: list[int] = []
    isolated = function("current", host=local_host)(wait)
    future = isolated.submit(0.1)
    submitter = future.submitter
    # On the thread that takes answers.
    Future.add_done_callback(future, lambda _: counted.append(submitter.count()))
    assert future.result(60) == 0.1

    assert wait_until(lambda: counted == [1] and not submitter.count(), 60)


def test_submitted_calls_wait_on_their_own_time(local_host: LocalHost):
    """A submitted call has its time from its submission, also while others run."""
    isolated = function("current", host=local_host, max_concurrency=1, timeout=1)(wait)
    in_time = isolated.with_policy(timeout=None)
    assert in_time(0) == 0

    futures = [isolated.submit(60) for _ in range(5)]

    assert [type(future.exception(30)) for future in futures] == [Timeout] * 5
    assert in_time(0) == 0


def test_submitted_call_takes_no_idempotency_key(local_host: LocalHost):
    """
    A function without a parameter *key* refuses one where it is submitted, as no host keeps a
    call from being made twice; a function's own argument of that name is passed on.
    """
    isolated = function("current", host=local_host)(wait)
    with pytest.raises(OptionError, match=r"wait.* no parameter 'key'.*'local'"):
        isolated.submit(0, key="order 7")  # type: ignore[call-arg]

    @function("current", host=local_host)
    def own(key: str) -> str:
        return key

    @function("current", host=local_host)
    def any_names(**named: str) -> dict[str, str]:
        return named

    assert own.submit(key="a").result() == "a"
    assert any_names.submit(key="b").result() == {"key": "b"}


def hold(begun: Path, end: Path) -> None:
    begun.touch()
    while not end.exists():
        time.sleep(0.01)


def test_future_tells_whether_its_call_runs(local_host: LocalHost, tmp_path: Path):
    """
    A call that is submitted or spawned runs from when its host runs it until it is done; one
    that waits for a worker does not run, and its timeout says that it has not started.
    """
    isolated = function("current", host=local_host, max_concurrency=1)(hold)
    begun, end = tmp_path / "begun", tmp_path / "end"
    first, second = isolated.submit(begun, end), isolated.submit(begun, end)
    assert wait_until(begun.exists, 60)
    assert wait_until(first.running, 60)
    assert not second.running()
    late = isolated.with_policy(timeout=0.2)
    for wait in (late.submit(begun, end).result, lambda: late(begun, end)):
        with pytest.raises(Timeout, match=r"did not start within 0\.2 s"):
            wait()
    end.touch()
    second.result(60)
    assert (first.running(), first.done(), second.running()) == (False, True, False)

    begun.unlink()
    end.unlink()
    spawned = isolated.spawn(begun, end).future
    assert spawned is not None
    assert wait_until(spawned.running, 60)
    end.touch()
    spawned.result(60)
    assert not spawned.running()


def test_call_that_waits_costs_little(
    local_host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A submitted call that has to wait for a worker, and fits as one before did, runs no more
    than five functions of ours.
    """
    # However long the calls before it take, it is no time for a look at the files.
    monkeypatch.setattr("fal_core.sealing.edits._LEAST", 600)
    isolated = function("current", host=local_host, max_concurrency=1)(hold)
    end = tmp_path / "end"
    before = [isolated.submit(end, end) for _ in range(4)]
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_globals["__name__"].startswith("fal_"):
            entered.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        last = isolated.submit(end, end)
    finally:
        sys.setprofile(None)
    end.touch()

    assert entered == ["submit", "is_current", "are_unchanged", "submit", "enqueue"]
    assert [future.result(60) for future in [*before, last]] == [None] * 5


@pytest.mark.parametrize("way", ["early", "late"])
def test_given_executor_takes_the_calls(local_host: LocalHost, way: str):
    """Submitted calls wait on the threads of an executor that was given, if only after others."""
    isolated = function("current", host=local_host)(wait)
    if way == "late":
        assert isolated.submit(0).result(60) == 0
    with ThreadPoolExecutor(1, thread_name_prefix="own") as executor:
        isolated.executor = executor
        future = isolated.submit(0)
        assert future.result(60) == 0
    assert type(future) is Future


def test_refused_call_begins_at_the_caller(local_host: LocalHost):
    """What is wrong with a submitted call is raised by one frame of ours, after others fitted too."""
    isolated = function("current", host=local_host)(wait)
    assert isolated.submit(0).result(60) == 0
    with pytest.raises(TypeError, match="1 positional argument but 2 were given") as raised:
        isolated.submit(0, 1)  # type: ignore[call-arg]  # that is refused
    frames = [entry.frame.f_globals["__name__"] for entry in raised.traceback]
    assert frames == [__name__, "fal_core.functions"]


@attrs.define(eq=False, slots=False)
class ScriptedHost(Host[..., Any]):
    """
    A host that runs nothing: its test sends the events of its calls.

    Attributes:
        launched: The calls so far, with their sinks.
    """

    name: ClassVar[str] = "scripted"
    capabilities: ClassVar[Capabilities] = Capabilities(kinds=None, options=None, batch=True)

    launched: list[tuple[Call, Sink]] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.launched.append((call, sink))
        return LateExecution(call.id)

    def numbers(self, index: int) -> list[int]:
        """Return the arguments of the items of a launch, once it was made."""
        assert wait_until(lambda: len(self.launched) > index, 60)
        call, _ = self.launched[index]
        items = values.open_arguments(call.arguments, None)
        return [args[0] for args, _ in (items if call.batch else [items])]

    def answer(self, index: int) -> None:
        """End a launch with a result for each item: its argument."""
        _, sink = self.launched[index]
        outcomes = [(VALUE, number) for number in self.numbers(index)]
        sink(Item(Sealed(*values.seal_value(outcomes, None)), 0, len(outcomes)))
        sink(Exited())


def test_cancelled_call_that_is_handed_back_is_not_made():
    """
    A call that was cancelled while it waited in a launch behind a long one is not launched
    again with those that the worker hands back.
    """
    host = ScriptedHost()
    isolated = function("current", host=host)(wait)
    futures = [isolated.submit(number) for number in range(2000)]
    running = 0
    # The first launches have one item each; one answer that is quick makes them larger.
    while len(host.numbers(running)) < 3:
        host.answer(running)
        running += 1
    first, cancelled, handed_back = host.numbers(running)[:3]
    _, sink = host.launched[running]
    sink(Started(1))

    assert futures[cancelled].cancel()
    sink(Returned(1))
    sink(Item(Sealed(*values.seal_value([(VALUE, first)], None)), 0, 1))
    sink(Exited())

    def later() -> list[list[int]]:
        return [host.numbers(index) for index in range(running + 1, len(host.launched))]

    assert wait_until(lambda: any(handed_back in made for made in later()), 60)
    assert [handed_back] == [made[0] for made in later() if handed_back in made]
    assert not any(cancelled in made for made in later())
    assert futures[first].result(0) == first
    assert futures[cancelled].cancelled()
    # The program that runs this test waits for no call.
    for future in futures:
        future.cancel()


class Argument:
    """What a call is made with; it tells when it is freed."""


@pytest.mark.parametrize("step", [1, -1])
def test_cancelling_many_calls_takes_the_same_for_each(step: int) -> None:
    """
    How much is done to cancel a call does not depend on how many others there are, and what
    the cancelled ones were called with is freed.
    """

    def count_lines(number: int) -> int:
        isolated = function("current", host=ScriptedHost())(use)
        arguments = [Argument() for _ in range(number)]
        alive = [weakref.ref(argument) for argument in arguments]
        futures = [isolated.submit(argument) for argument in arguments]
        arguments.clear()
        lines = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            cancelled = [future.cancel() for future in futures[::step]]
        finally:
            sys.settrace(before)
        assert all(cancelled)
        # The host never ends the calls that it was given.
        assert sum(each() is not None for each in alive) < 20
        return lines

    assert count_lines(1200) < 3 * count_lines(600)
