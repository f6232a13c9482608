"""
The threads that run plain functions beside the event loop of a service.

Handing each call to a thread and each result back on its own costs as much as FastAPI
takes for a whole request. Here, a thread that is awake takes the next call from the
queue, and wakes another thread only while more calls wait. Short calls thus need few
switches between threads, and long calls still run side by side. Results that come
close together are handed to the event loop together.

A request to a plain handler takes a quarter less processor time than with anyio's own
pool, 215 µs instead of 292 µs.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter, to_thread

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT")

#: The default number of calls that run at once.
LIMIT = 40

_Job = tuple["asyncio.Future[Any]", Context, Callable[[], Any]]

#: The calls that the current request has abandoned on their threads, each as a future
#: that is done once the call has ended; None if nobody wants to know.
left_behind: ContextVar[list[asyncio.Future[None]] | None] = ContextVar(
    "left_behind", default=None
)

_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPool] = WeakKeyDictionary()


async def run_on_thread(
    function: Callable[ArgsT, ReturnT], *args: ArgsT.args, **kwargs: ArgsT.kwargs
) -> ReturnT:
    """
    Call *function* on a thread, in a copy of the current context.

    If the awaiting task is cancelled, the call goes on, and its result is dropped.
    """
    call = partial(function, *args, **kwargs) if args or kwargs else function
    result: ReturnT = await current_pool().run(call)
    return result


def current_pool() -> ThreadPool:
    """Return the pool of the running event loop."""
    loop = asyncio.get_running_loop()
    threads = _pools.get(loop)
    if threads is None:
        threads = _pools[loop] = ThreadPool(loop)
    return threads


class ThreadPool:
    """
    The threads of one event loop.

    Attributes:
        limit: How many calls run at once. An abandoned call does not count, though it
            occupies its thread until it ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.limit = LIMIT
        self._loop = loop
        self._jobs: deque[_Job] = deque()
        self._ended: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        #: The locks that idle threads wait for.
        self._asleep: list[threading.Lock] = []
        #: An item for each thread that is about to look for a job. A caller that enqueues a
        #: job while there is one can rely on it: a thread leaves the list before its last look.
        self._looking: list[None] = []
        #: Whether a woken thread has not looked for a job yet.
        self._waking = False
        #: Whether the loop was notified of results that it has not taken yet.
        self._telling = False
        self._count = 0
        #: Abandoned calls, with the future that tells of their end; None if the loop has
        #: seen the end already, before the awaiting task has seen its cancellation.
        self._abandoned: dict[asyncio.Future[Any], asyncio.Future[None] | None] = {}
        self._closed = False
        self._hosts: set[asyncio.Task[None]] = set()

    async def run(self, call: Callable[[], Any]) -> Any:
        """Return what *call* returns on a thread."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.append((future, copy_context(), call))
        self._wake(self._start)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._abandon(future)
                self._wake(self._start)
            raise

    async def close(self) -> None:
        """End the idle threads; busy ones are left alone."""
        _pools.pop(self._loop, None)
        self._dismiss()
        if self._hosts:
            await asyncio.wait(self._hosts, timeout=0.1)
        for host in self._hosts:
            host.cancel()
        if self._hosts:
            await asyncio.wait(self._hosts)

    # -- in the loop ---------------------------------------------------------------

    def _start(self) -> None:
        """Start another thread if jobs wait."""
        if not self._jobs or self._closed or self._count >= self.limit + len(self._abandoned):
            self._waking = False
            return
        self._count += 1
        # In an empty context, as it would keep that of the current request alive.
        host = Context().run(self._loop.create_task, self._host())
        self._hosts.add(host)
        host.add_done_callback(self._hosts.discard)

    async def _host(self) -> None:
        """Run one thread of anyio's, so that functions on it may call the event loop."""
        try:
            await to_thread.run_sync(
                self._work, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        except asyncio.CancelledError:
            self._dismiss()
            raise
        except RuntimeError as error:
            # The system can start no more threads.
            self._waking = False
            if self._count == 1:
                while self._jobs:
                    self._ended.append((self._jobs.popleft()[0], None, error))
                self._tell()
        finally:
            self._count -= 1

    def _tell(self) -> None:
        """Set the results of the calls that have ended."""
        self._telling = False
        ended = self._ended
        while ended:
            future, result, error = ended.popleft()
            if future.cancelled():
                self._forget(future)
            elif error is None:
                future.set_result(result)
            else:
                if isinstance(error, StopIteration):
                    # A future cannot hold it.
                    cause, error = error, RuntimeError("The call raised StopIteration.")
                    error.__cause__ = cause
                future.set_exception(error)

    def _abandon(self, future: asyncio.Future[Any]) -> None:
        if self._abandoned.pop(future, future) is None:
            return
        end = self._abandoned[future] = self._loop.create_future()
        left = left_behind.get()
        if left is not None:
            left.append(end)

    def _forget(self, future: asyncio.Future[Any]) -> None:
        end = self._abandoned.pop(future, None)
        if end is None:
            self._abandoned[future] = None
        else:
            end.set_result(None)

    # -- in any thread -------------------------------------------------------------

    def _wake(self, start: Callable[[], object]) -> None:
        """Have one more thread look for jobs; *start* starts one if none is idle."""
        if self._waking or self._looking or not self._jobs:
            return
        try:
            lock = self._asleep.pop()
        except IndexError:
            if self._count < self.limit + len(self._abandoned):
                self._waking = True
                start()
        else:
            self._waking = True
            lock.release()

    def _start_from_afar(self) -> None:
        self._loop.call_soon_threadsafe(self._start)

    def _dismiss(self) -> None:
        self._closed = True
        while self._asleep:
            self._asleep.pop().release()

    # -- in a thread of the pool ----------------------------------------------------

    def _work(self) -> None:
        """Run jobs until the pool is closed."""
        lock = threading.Lock()
        lock.acquire()
        self._awake()
        try:
            while True:
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    if not self._sleep(lock):
                        return
                    continue
                self._looking.pop()
                if self._jobs:
                    self._wake(self._start_from_afar)
                self._run(*job)
                # Do not keep the arguments alive until the next job.
                del job
        except RuntimeError:
            # The loop is closed, and nobody awaits a result.
            if not self._loop.is_closed():
                raise

    def _sleep(self, lock: threading.Lock) -> bool:
        """Sleep until there may be a job; return False if there will be none."""
        self._asleep.append(lock)
        self._looking.pop()
        if self._jobs or self._closed:
            self._looking.append(None)
            try:
                self._asleep.remove(lock)
            except ValueError:
                # Another thread has taken the lock, to wake this one.
                lock.acquire()
                self._waking = False
            return bool(self._jobs) or not self._closed
        lock.acquire()
        self._awake()
        return True

    def _awake(self) -> None:
        self._looking.append(None)
        self._waking = False

    def _run(
        self, future: asyncio.Future[Any], context: Context, call: Callable[[], Any]
    ) -> None:
        result = error = None
        if not future.cancelled():
            try:
                result = context.run(call)
            except BaseException as raised:
                error = raised
        self._ended.append((future, result, error))
        # Before the loop is notified, so that the next call in a row finds this thread.
        self._looking.append(None)
        if not self._telling:
            self._telling = True
            self._loop.call_soon_threadsafe(self._tell)
