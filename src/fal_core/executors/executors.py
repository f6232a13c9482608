"""An executor that runs what it is given on a host, in an environment of its own."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fal_core.calling.program_ends import program_end
from fal_core.decorators import function
from fal_core.environments import Environment
from fal_core.errors import OptionError, UnsupportedError
from fal_core.executors.pooled_functions import PooledFunctions, make_setup
from fal_core.tracebacks.trimming import begins_at_caller, trim, trim_to_user

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fal_core.executors.pooled_calls import PooledCalls
    from fal_core.hosts import Host
    from fal_core.keywords.options import ExecutorKeywords

ArgsT = ParamSpec("ArgsT")
ResultT = TypeVar("ResultT")

#: Options that an executor has under a name of its own, or cannot have.
INSTEAD = {
    "max_concurrency": "Write 'max_workers'.",
    "setup_function": "Write 'initializer' and 'initargs'.",
    "serve": "Spawn a function that is served.",
}


class Executor(concurrent.futures.Executor):
    """
    Runs functions on *host*, each call in a worker with the declared environment.

    It is an executor of ``concurrent.futures``: what takes one takes this. A call runs from
    when it is sent to a worker, and is not cancelled any more. A lost worker is the error of
    the calls that it had, and another one takes its place.

    Arguments:
        kind: Of the environment, as in ``virtualenv``; or an environment.

        host: Where the calls run: a host, its name or its URL. The default is this
            machine, or what ``FAL_CORE_HOST`` names.

        max_workers: How many calls run at once. The default is up to the host.

        initializer: Called with *initargs* in each worker before its first call. Functions
            see the global variables that it sets in their module. If it raises, the
            executor is broken: calls raise ``BrokenExecutor``.

        config: Options as for :func:`fal_core.function`, policies among them.

    Raises:
        OptionError: An option is wrong.

        ValueError: *max_workers* is less than 1.
    """

    @begins_at_caller
    def __init__(
        self,
        kind: str | Environment = "virtualenv",
        *,
        host: Host[Any, Any] | str | None = None,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **config: Unpack[ExecutorKeywords],
    ) -> None:
        if not isinstance(kind, (str, Environment)):
            raise OptionError(
                f"An executor takes its kind first, not {kind!r}. "
                "Write Executor('virtualenv', max_workers=…)."
            )
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}.")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        for name, remedy in INSTEAD.items():
            if name in config:
                raise OptionError(f"An executor has no option {name!r}. {remedy}")
        options: dict[str, Any] = {**config}
        isolate: Any = function(kind, host=host, **options)
        self._most: int | None = None
        if max_workers is not None:
            if _acts_on(isolate.host, "max_concurrency"):
                options["max_concurrency"] = max_workers
            else:
                self._most = max_workers
        if initializer is not None:
            if not _acts_on(isolate.host, "setup_function"):
                raise UnsupportedError(
                    isolate.host.name, "run an initializer", "Let functions do its work."
                )
            options["setup_function"] = make_setup(initializer, initargs)

        isolate = function(kind, host=isolate.host, **options)
        self._functions = PooledFunctions(isolate, initialized=initializer is not None)
        self._lock = threading.RLock()
        self._calls: PooledCalls | None = None
        self._is_shut_down = False

    @property
    def _broken(self) -> bool:
        return self._calls is not None and self._calls.broken

    def submit(
        self, fn: Callable[ArgsT, ResultT], /, *args: ArgsT.args, **kwargs: ArgsT.kwargs
    ) -> Future[ResultT]:
        """
        Queue ``fn(*args, **kwargs)`` and return the future of its result.

        Raises:
            BrokenExecutor: The initializer has failed.

            RuntimeError: The executor was shut down, or the program has ended.
        """
        with self._lock:
            if self._broken:
                from fal_core.executors.pooled_calls import BROKEN

                raise BrokenExecutor(BROKEN)
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if program_end.is_past():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            launcher, is_argument = self._functions.find(fn)
            if self._calls is None:
                from fal_core.executors.pooled_calls import PooledCalls

                self._calls = PooledCalls(launcher, most=self._most)
            arguments = (fn, *args) if is_argument else args
            return self._calls.queue(launcher, arguments, kwargs)

    def map(
        self,
        fn: Callable[..., ResultT],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[ResultT]:
        """
        Call *fn* with the items of *iterables* and iterate over the results, in order.

        Arguments:
            timeout: Seconds from now on after which the next result raises ``TimeoutError``.

            chunksize: Has no effect: how many calls travel together follows their time.

            buffersize: How many results that were not taken may be under way, on every
                Python. Without it, all items are submitted at once.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        until = None if timeout is None else time.monotonic() + timeout
        # The shortest iterable ends it, as with the built-in map.
        items = zip(*iterables)  # noqa: B905
        __tracebackhide__ = True
        try:
            futures = deque(self.submit(fn, *args) for args in islice(items, buffersize))
        except Exception as error:
            raise trim_to_user(error)  # noqa: B904  # the same one
        more: Iterator[Any] = items if buffersize is not None else iter(())
        return _results(weakref.ref(self), fn, futures, more, until)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """
        Take no more calls. Workers stay warm for ``keep_alive`` seconds.

        Arguments:
            wait: Return when all calls have ended.

            cancel_futures: Cancel the calls that do not run yet.
        """
        with self._lock:
            self._is_shut_down = True
            calls = self._calls
        if calls is None:
            return
        if cancel_futures:
            calls.cancel_waiting()
        if wait:
            calls.wait()


def _results(
    executor: weakref.ref[Executor],
    fn: Callable[..., Any],
    futures: deque[Future[Any]],
    more: Iterator[Any],
    until: float | None,
) -> Iterator[Any]:
    __tracebackhide__ = True
    try:
        while futures:
            pool = executor()
            if pool is not None:
                futures.extend(pool.submit(fn, *args) for args in islice(more, 1))
            del pool
            left = None if until is None else until - time.monotonic()
            # It stays among them while it is waited for: if that fails, all are cancelled.
            taken = [futures[0].result(left)]
            futures.popleft()
            yield taken.pop()
    except Exception as error:
        raise trim(error)  # noqa: B904  # the same one
    finally:
        for future in futures:
            future.cancel()
            del future
        # The traceback of what is raised refers to this frame.
        futures.clear()


def _acts_on(host: Host[Any, Any], option: str) -> bool:
    options = host.capabilities.options
    return options is None or option in options
