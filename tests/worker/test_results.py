"""Results that a process keeps in memory."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core import cached, function
from fal_core.sealing import seal_function
from fal_core_worker.results import MOST_KEPT
from fal_testing import InProcessHost

#: Seconds that a thread may take to come to its point.
PATIENCE = 60


def make_loader(name: str, calls: list[str]) -> Callable[[], str]:
    """Return a cached function around *name*."""

    @cached
    def load() -> str:
        calls.append(name)
        return f"model {name}"

    return load


def make_counter(name: str, calls: list[str]) -> Callable[[], str]:
    """Return a cached function around *name* alone, which notes its calls in *calls*."""
    counted[id(calls)] = calls
    key = id(calls)

    @cached
    def load() -> str:
        counted[key].append(name)
        return name

    return load


counted: dict[int, list[str]] = {}


def make_greeter(greeting: str) -> Any:
    @cached
    def greet(name: str, ending: str = greeting) -> list[str]:
        return [name, ending]

    return greet


def test_functions_around_different_values_do_not_share() -> None:
    """Functions of one source have results of their own where the values around them differ."""
    calls: list[str] = []
    small, large = make_loader("small", calls), make_loader("large", calls)
    assert [small(), large(), small()] == ["model small", "model large", "model small"]
    assert calls == ["small", "large"]
    assert make_greeter("!")("a") == ["a", "!"]
    assert make_greeter("?")("a") == ["a", "?"]


def test_few_sets_of_values_are_kept() -> None:
    """Where the values around a function are new again and again, those last used have results."""
    calls: list[str] = []
    names = [str(number) for number in range(MOST_KEPT + 1)]
    # A function that lives keeps its own.
    first = make_counter("first", calls)
    first()
    for name in names:
        make_counter(name, calls)()
        make_counter(names[0], calls)()
    assert first() == "first"
    assert calls == ["first", *names]
    # The oldest but for the one that was used all the time.
    make_counter(names[-1], calls)()
    make_counter(names[0], calls)()
    assert calls == ["first", *names]
    make_counter(names[1], calls)()
    assert calls == ["first", *names, names[1]]


def test_results_that_are_not_kept_are_free() -> None:
    """What is kept no longer, and belongs to no function that lives, is in memory no longer."""

    def make(number: int) -> Any:
        @cached
        def load() -> Model:
            return Model(str(number))

        return load

    models = [weakref.ref(make(number)()) for number in range(3 * MOST_KEPT)]
    gc.collect()
    assert sum(model() is not None for model in models) == MOST_KEPT


def test_lambdas_of_one_line_do_not_share() -> None:
    """Functions that share their line of source have results of their own."""
    # fmt: off
    more, most = cached(lambda number: number + 1), cached(lambda number: number * 100)
    few, many = cached(lambda: [each + 1 for each in (1, 2)]), cached(lambda: [each + 9 for each in (1, 2)])  # noqa: E501
    # fmt: on
    assert (more(5), most(5)) == (6, 500)
    assert (few(), many()) == ([2, 3], [10, 11])


def test_values_that_do_not_pickle_are_told_apart() -> None:
    """Values that cannot be compared by their contents are told apart one by one."""

    def make(lock: Any) -> Any:
        @cached
        def held() -> list[Any]:
            return [lock]

        return held

    with open(os.devnull) as first, open(os.devnull) as second:
        one, other = make(first), make(second)
        assert one() is one()
        assert one() != other()


class Model:
    """A model that is loaded once for each name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self) -> str:
        return self.name


def test_classes_and_methods_are_cached() -> None:
    """A class gives one instance for each set of arguments; methods of different objects differ."""
    model: Any = cached(Model)
    assert model("a") is model("a")
    assert model("a") is not model("b")
    answers = [cached(Model(name).answer) for name in ("a", "b")]
    assert [answer() for answer in answers] == ["a", "b"]


def test_functions_of_one_source_share_by_their_name() -> None:
    """Two functions of equal source and different names are two functions."""
    spaces: list[dict[str, Any]] = []
    for module in ("first_module", "second_module"):
        space: dict[str, Any] = {"__name__": module, "cached": cached, "MODEL": module}
        exec(compile(ORIGIN, __file__, "exec"), space)
        spaces.append(space)
    assert [space["load"]() for space in spaces] == ["first_module", "second_module"]


#: What stands at the very lines of this file that it was compiled from.
ORIGIN = """\
@cached
def load():
    return MODEL
"""


def test_results_outlive_functions_that_are_opened_anew(worker: Any) -> None:
    """
    A function that is sealed again finds the results of its earlier self, also in its
    portable form; one around another value does not.
    """

    def make(size: int) -> Any:
        @cached
        def load() -> object:
            import os

            return os.urandom(8), size

        return lambda: load()

    small, large = make(1), make(2)
    for portable in (False, True):
        seals = [seal_function(make(size), portable=portable) for size in (1, 1, 2)]
        answers = [worker(None, (), seal=seal, native=not portable)[0] for seal in seals]
        assert answers[0] == answers[1]
        assert answers[0] != answers[2]
    assert small() == small() != large()


def test_cached_functions_of_modules_that_travel_as_source(
    bare_worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that a local module has under ``cached`` is cached in a worker as well."""
    (tmp_path / "cached_models.py").write_text(
        "import os\nfrom fal_core import cached\n"
        "@cached\ndef load(name): return name, os.urandom(8)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def use(name: str) -> Any:
        import cached_models

        return cached_models.load(name)

    first, second, other = bare_worker(use, ("a",), ("a",), ("b",))
    assert first == second != other


def test_concurrent_first_calls_load_once() -> None:
    """Calls that come while the result is being computed wait for it."""
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    @cached
    def load(number: int) -> object:
        calls.append(number)
        begun.set()
        assert go_on.wait(PATIENCE)
        return object()

    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(load(1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(PATIENCE)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(set(map(id, results))) == 1
    assert calls == [1]


def test_failed_load_is_not_kept() -> None:
    """After an error the next call computes the result anew."""
    failures = [OSError("no network"), None]

    @cached
    def load() -> str:
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        return "loaded"

    with pytest.raises(OSError, match="no network"):
        load()
    assert load() == load() == "loaded"


def test_call_that_is_ended_leaves_the_work_to_those_who_wait() -> None:
    """Where a call is ended from outside, one of those that wait for its result makes it."""
    begun, end = threading.Event(), threading.Event()
    calls: list[int] = []

    @cached
    def load() -> str:
        calls.append(1)
        if len(calls) == 1:
            begun.set()
            assert end.wait(PATIENCE)
            raise KeyboardInterrupt
        return "loaded"

    interrupted: list[BaseException] = []

    def call() -> None:
        try:
            load()
        except KeyboardInterrupt as error:
            interrupted.append(error)

    first = threading.Thread(target=call)
    first.start()
    assert begun.wait(PATIENCE)
    results: list[str] = []
    second = threading.Thread(target=lambda: results.append(load()))
    second.start()
    end.set()
    for thread in (first, second):
        thread.join()
    assert results == ["loaded"]
    assert len(interrupted) == 1
    assert len(calls) == 2


def test_coroutine_functions_are_cached() -> None:
    """What a coroutine function returns is kept: concurrent calls await it once, in any loop."""
    calls: list[int] = []

    @cached
    async def load(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        if number < 0:
            raise ValueError("too small")
        return number * 2

    async def many() -> list[Any]:
        numbers = [load(1), load(1), load(2)]
        return [*await asyncio.gather(*numbers), await load(1)]  # type: ignore[misc]

    assert asyncio.run(many()) == [2, 2, 4, 2]
    assert asyncio.run(many()) == [2, 2, 4, 2]
    assert sorted(calls) == [1, 2]
    for _ in range(2):
        with pytest.raises(ValueError, match="too small"):
            asyncio.run(load(-1))  # type: ignore[arg-type]
    assert calls.count(-1) == 2
    isolated = function("current", host=InProcessHost())(load)
    assert isolated(1) == 2


def test_cancelled_task_leaves_the_work_to_those_who_wait() -> None:
    """Where the task that computes a result is cancelled, one that waits for it computes it."""

    async def meet() -> None:
        calls: list[int] = []
        never = asyncio.Event()

        @cached
        async def load() -> str:
            calls.append(1)
            if len(calls) == 1:
                await never.wait()
            return "loaded"

        first = asyncio.ensure_future(load())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(load())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "loaded"
        assert first.cancelled()

    asyncio.run(meet())


def test_function_that_calls_itself() -> None:
    """A cached function may call itself, as one under ``lru_cache`` may."""

    @cached
    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    @cached
    def forever() -> int:
        return forever()

    assert fibonacci(80) == 23416728348467685
    with pytest.raises(RecursionError):
        forever()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_waits_for_no_thread_of_its_parent() -> None:
    """A forked child computes what a thread of its parent was about to compute."""
    begun, go_on = threading.Event(), threading.Event()

    @cached
    def load() -> str:
        begun.set()
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(PATIENCE)
        return "loaded"

    thread = threading.Thread(target=load)
    thread.start()
    assert begun.wait(PATIENCE)
    child = os.fork()
    if not child:
        os._exit(0 if load() == "loaded" else 1)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_generator_functions_are_refused() -> None:
    """What a generator function yields can be taken once, so it is not cached."""
    with pytest.raises(ValueError, match="is a generator function"):

        @cached
        def items() -> Any:
            yield 1
