"""Executors on the local host, as programs use those of ``concurrent.futures``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import itertools
import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core import Executor, OptionError, Timeout, UnsupportedError, WorkerLost
from fal_core.environments import CurrentEnvironment
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until
from fal_testing.hosts.in_process import InProcessHost

#: Seconds that a wait may take; most take a fraction of one.
PATIENCE = 120

value = "as it is written"
counts: list[int] = []


def double(number: int) -> int:
    return 2 * number


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def hold(folder: Path, name: str) -> str:
    """Say that the call *name* runs, and run until it is let go."""
    (folder / name).touch()
    while not (folder / f"{name} may end").exists():
        time.sleep(0.005)
    return name


def let_go(folder: Path, name: str) -> None:
    (folder / f"{name} may end").touch()


def count_running(folder: Path, name: str) -> int:
    """Return how many calls run that have begun before the call *name* or with it."""
    (folder / name).touch()
    count = len(list(folder.iterdir()))
    time.sleep(0.02)
    (folder / name).unlink()
    return count


def set_value(to: str) -> None:
    global value
    value = to
    counts.append(os.getpid())


def get_value() -> tuple[str, list[int]]:
    return value, counts


def fail_to_start(folder: Path) -> None:
    hold(folder, "initializer")
    raise LookupError("no model here")


def fail_elsewhere(process: int) -> LookupError:
    if os.getpid() != process:
        raise ImportError("There is no such class here.")
    return LookupError()


@pytest.fixture
def make(local_host: LocalHost) -> Iterator[Callable[..., Executor]]:
    """Makes executors on a host of the test's own, which are shut down at its end."""
    made: list[Executor] = []

    def make(**options: Any) -> Executor:
        options = {"host": local_host, "max_workers": 1, **options}
        made.append(Executor("current", **options))
        return made[-1]

    yield make
    for each in made:
        each.shutdown(cancel_futures=True)


def test_calls_and_maps(make: Callable[..., Executor]):
    """Calls of any callable give what it returns or raises, and a map its results in order."""
    pool = make(max_workers=2)
    assert isinstance(pool, concurrent.futures.Executor)
    assert pool.submit(double, number=4).result() == 8
    # By value and by reference; of this module, of Python and of an installed package.
    assert pool.submit(lambda: value).result() == value
    assert pool.submit("a,b".split, ",").result() == ["a", "b"]
    assert pool.submit(functools.partial(pow, 2), 5).result() == 32
    assert pool.submit(attrs.has, int).result() is False
    assert pool.submit(complex, 1, 2).result() == 1 + 2j
    twice = functools.partial(map, double)
    assert list(pool.map(lambda numbers: list(twice(numbers)), [[1], [2]])) == [[2], [4]]
    assert list(pool.map(double, range(500), chunksize=7)) == list(range(0, 1000, 2))
    assert pool.submit(asyncio.sleep, 0, "awaited").result() == "awaited"
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result()


def test_a_partial_is_called_with_what_its_arguments_are_now(make: Callable[..., Executor]):
    """A change of what a partial was made of is seen by the calls that are submitted after it."""
    pool = make()
    numbers = [1]
    first = functools.partial(sum, numbers)
    seen = []
    for number in range(5):
        seen.append(pool.submit(first).result())
        numbers.append(number)
    assert seen == [1, 1, 2, 4, 7]
    found: dict[str, int] = {}
    get, seen = functools.partial(found.get, "x"), []
    for number in range(5):
        seen.append(pool.submit(get).result())
        found["x"] = number
    assert seen == [None, 0, 1, 2, 3]
    power = functools.partial(pow, 2, mod=None)
    assert [pool.submit(power, number).result() for number in range(4)] == [1, 2, 4, 8]


def test_an_environment_may_stand_in_the_place_of_its_kind(local_host: LocalHost):
    """An executor takes what ``function`` takes first."""
    with Executor(CurrentEnvironment(), host=local_host, max_workers=1) as pool:
        assert pool.submit(double, 2).result() == 4


def test_calls_begin_in_the_order_in_which_they_were_submitted(
    make: Callable[..., Executor], tmp_path: Path
):
    """One worker runs calls of several functions one after the other, in their order."""
    pool = make()
    path = tmp_path / "order"

    def also(text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    for number in range(20):
        pool.submit(add, path, f"a{number} ")
        pool.submit(also, f"b{number} ")
    pool.shutdown()
    assert path.read_text().split() == [f"{each}{n}" for n in range(20) for each in "ab"]


def test_only_a_call_that_waits_is_cancelled(make: Callable[..., Executor], tmp_path: Path):
    """A call that runs goes on, and cancelling it is False; one that waits never runs."""
    pool = make()
    running = pool.submit(hold, tmp_path, "first")
    wait_until((tmp_path / "first").exists, PATIENCE)
    others = [pool.submit(hold, tmp_path, f"other {number}") for number in range(5)]
    assert running.running()
    assert not running.cancel()
    last = others[-1]
    assert last.cancel()
    assert last.cancelled()
    done, _ = concurrent.futures.wait([last, running], PATIENCE, "FIRST_COMPLETED")
    assert done == {last}
    with pytest.raises(concurrent.futures.CancelledError):
        last.result()
    for name in ("first", *(f"other {number}" for number in range(4))):
        let_go(tmp_path, name)
    assert running.result(PATIENCE) == "first"
    pool.shutdown()
    assert not (tmp_path / "other 4").exists()


def test_shutdown_cancels_and_waits(make: Callable[..., Executor], tmp_path: Path):
    """
    After ``shutdown(cancel_futures=True)`` each call has ended or is cancelled, and no more
    calls are taken.
    """
    pool = make()
    futures = [pool.submit(hold, tmp_path, str(number)) for number in range(9)]
    pool.shutdown(wait=False, cancel_futures=True)
    for number in range(9):
        let_go(tmp_path, str(number))
    pool.shutdown()
    ended = [future.result() for future in futures if not future.cancelled()]
    assert ended == [str(number) for number in range(len(ended))]
    assert 0 < len(ended) < 9
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(double, 1)


def test_callbacks_have_ended_after_shutdown(make: Callable[..., Executor]):
    """A callback may wait for another call, and ``shutdown`` waits for callbacks."""
    pool, other = make(), make(max_workers=2)
    called: list[int] = []
    future = pool.submit(double, 1)
    future.add_done_callback(lambda each: called.append(other.submit(double, 5).result()))
    pool.shutdown()
    assert called == [10]


def test_context_manager_shutdown(local_host: LocalHost):
    """Leaving the block waits for all calls."""
    with Executor("current", host=local_host, max_workers=2) as pool:
        results = pool.map(abs, range(-5, 5))
        futures = [pool.submit(double, number) for number in range(50)]
    assert all(future.done() for future in futures)
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("way", ["shutdown without a wait", "no reference"])
def test_del_shutdown_and_shutdown_no_wait(local_host: LocalHost, way: str):
    """Calls end also when nobody waits for their executor, or refers to it."""
    pool = Executor("current", host=local_host, max_workers=2)
    results = pool.map(abs, range(-5, 5))
    if way != "no reference":
        pool.shutdown(wait=False)
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


def test_a_lost_worker_is_the_error_of_its_call(make: Callable[..., Executor]):
    """The calls of a killed worker raise ``WorkerLost``, and the executor goes on."""
    pool = make()

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert pool.submit(double, 1).result() == 2
    lost, next_one = pool.submit(end), pool.submit(double, 3)
    assert isinstance(lost.exception(PATIENCE), WorkerLost)
    assert next_one.result(PATIENCE) == 6
    assert pool.submit(double, 4).result(PATIENCE) == 8


def test_errors_of_what_comes_with_its_call_name_what_was_called(
    make: Callable[..., Executor], tmp_path: Path
):
    """A bound method is the first argument of ``submit``, and no function of its own."""
    pool = make()
    with (tmp_path / "file").open("w") as file:
        error = pool.submit(file.write, "text").exception(PATIENCE)
    assert "An argument of 'Executor.submit' cannot travel because of args[0]" in str(error)

    class Ending:
        def end(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    lost = pool.submit(Ending().end).exception(PATIENCE)
    assert "Worker of 'Executor.submit' was killed (SIGKILL)" in str(lost)


def test_the_initializer_runs_once_in_each_worker(make: Callable[..., Executor]):
    """
    Functions see the global variables that the initializer of their module has set, however
    they travel, and this process keeps its own.
    """
    pool = make(initializer=set_value, initargs=("as it was set",))
    first, counted = pool.submit(get_value).result()
    assert first == "as it was set"
    assert len(counted) == 1
    assert pool.submit(get_value).result() == (first, counted)
    assert pool.submit(lambda: (value, counts)).result() == (first, counted)
    assert pool.submit(functools.partial(pow, 2), 3).result() == 8
    assert value == "as it is written"
    # Another executor has workers of its own.
    pool = make(initializer=set_value, initargs=("otherwise",))
    again, others = pool.submit(get_value).result()
    assert again == "otherwise"
    assert others != counted


def test_a_failing_initializer_breaks_the_executor(
    make: Callable[..., Executor], caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    """Calls that wait and that follow raise ``BrokenExecutor`` with the error as cause."""
    pool = make(initializer=fail_to_start, initargs=(tmp_path,))
    futures = [pool.submit(double, number) for number in range(20)]
    let_go(tmp_path, "initializer")
    errors = [future.exception(PATIENCE) for future in futures]
    assert {type(error) for error in errors} == {concurrent.futures.BrokenExecutor}
    assert isinstance(errors[-1].__cause__, LookupError)
    with pytest.raises(concurrent.futures.BrokenExecutor, match="initializer"):
        pool.submit(double, 1)
    pool.shutdown()
    (record,) = [each for each in caplog.records if each.name == "concurrent.futures"]
    assert record.message == "Exception in initializer:"


def test_the_error_of_an_initializer_says_where_it_was_raised(
    make: Callable[..., Executor], tmp_path: Path
):
    """The cause has the traceback of the initializer, also if its class cannot be opened here."""

    class Strange(Exception):
        def __reduce__(self) -> tuple[Any, ...]:
            return fail_elsewhere, (os.getpid(),)

    def raise_strange() -> None:
        raise Strange("no model here")

    let_go(tmp_path, "initializer")
    for initializer, initargs, name in (
        (fail_to_start, (tmp_path,), "LookupError"),
        (raise_strange, (), "Strange"),
    ):
        pool = make(initializer=initializer, initargs=initargs)
        error = pool.submit(double, 1).exception(PATIENCE)
        assert type(error) is concurrent.futures.BrokenExecutor
        assert type(error.__cause__).__name__ == name
        assert str(error.__cause__) == "no model here"
        assert f", in {initializer.__name__}" in str(error.__cause__.__cause__)


def test_a_map_takes_as_many_items_as_its_buffer_holds(make: Callable[..., Executor]):
    """With ``buffersize`` a map reads its input, which may be endless, as results are taken."""
    pool = make()
    numbers = itertools.count()
    results = pool.map(double, numbers, buffersize=3)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert next(numbers) == 13
    results.close()
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        pool.map(double, [], buffersize=0)
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        pool.map(double, [], buffersize="3")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(double, [], chunksize=0)


def test_a_map_cancels_the_rest_when_its_time_is_up(
    make: Callable[..., Executor], tmp_path: Path
):
    """A result that has not come in time raises ``TimeoutError``; calls that wait are left out."""
    pool = make()
    results = pool.map(hold, [tmp_path] * 9, map(str, range(9)), timeout=0)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    for number in range(9):
        let_go(tmp_path, str(number))
    pool.shutdown()
    assert not (tmp_path / "8").exists()


def test_a_call_has_the_time_of_the_policy(make: Callable[..., Executor], tmp_path: Path):
    """With ``timeout`` calls end when their time is up, those that wait too."""
    pool = make(timeout=1)
    futures = [pool.submit(hold, tmp_path, "held") for _ in range(6)]
    assert [type(future.exception(PATIENCE)) for future in futures] == [Timeout] * 6


def test_what_a_call_was_given_is_freed(make: Callable[..., Executor]):
    """An argument is freed once its call has ended or is cancelled, while the future lives."""

    class Argument:
        pass

    pool = make()
    argument = Argument()
    reference = weakref.ref(argument)
    future = pool.submit(repr, argument)
    del argument
    assert "Argument" in future.result()
    assert wait_until(lambda: gc.collect() >= 0 and reference() is None, PATIENCE)


def test_event_loops_run_calls(make: Callable[..., Executor]):
    """``run_in_executor`` awaits calls."""
    pool = make(max_workers=2)

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(pool, double, number) for number in range(5))
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_tqdm_shows_how_far_a_map_of_an_executor_is(
    local_host: LocalHost, capfd: pytest.CaptureFixture[str]
):
    """tqdm counts the results of a map."""
    tqdm = pytest.importorskip("tqdm").tqdm
    with Executor("current", host=local_host, max_workers=2) as pool:
        counted = tqdm(pool.map(double, range(10)), total=10, ascii=True, mininterval=0)
        assert list(counted) == list(range(0, 20, 2))
    assert "10/10" in capfd.readouterr().err


def test_a_host_that_counts_no_workers_is_sent_as_many_calls(tmp_path: Path):
    """Where a host does not know ``max_concurrency``, no more calls are sent to it at once."""
    with Executor("current", host=InProcessHost(), max_workers=2) as pool:
        counted = list(pool.map(count_running, [tmp_path] * 12, map(str, range(12))))
    assert max(counted) <= 2


def test_options_that_an_executor_does_not_have_are_refused(local_host: LocalHost):
    """A mistake in a declaration is said where it is written."""
    for options, text in (
        ({"max_concurrency": 2}, "'max_workers'"),
        ({"setup_function": double}, "'initializer'"),
        ({"serve": True}, "'serve'"),
        ({"keep_aliv": 2}, "keep_alive"),
    ):
        with pytest.raises(OptionError, match=text):
            Executor("current", host=local_host, **options)
    with pytest.raises(OptionError, match=r"Executor\('virtualenv', max_workers=…\)"):
        Executor(4)  # type: ignore[arg-type]  # as ThreadPoolExecutor takes it
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Executor("current", host=local_host, max_workers=0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor("current", host=local_host, initializer=1)  # type: ignore[arg-type]


def test_a_generator_function_is_refused(make: Callable[..., Executor]):
    """What yields has no one result: it is refused where it is submitted."""

    def count() -> Iterator[int]:
        yield 1

    pool = make()
    with pytest.raises(OptionError, match="yields"):
        pool.submit(count)


@attrs.define(eq=False, slots=False)
class PlainHost(InProcessHost):
    """A host that runs no setup function."""

    capabilities = attrs.evolve(InProcessHost.capabilities, options=frozenset())


def test_a_host_that_runs_no_initializer_is_refused():
    """An initializer is refused where it would be left out."""
    with pytest.raises(UnsupportedError, match="run an initializer"):
        Executor("current", host=PlainHost(), initializer=double)
