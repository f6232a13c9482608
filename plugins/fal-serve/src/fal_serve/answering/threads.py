"""
Threads: where what is no coroutine runs, beside the loop of a service.

Handing a call to a thread and its result back costs as much as FastAPI takes for a
whole request, if each is told to the other side by itself. Here a thread that is
awake takes what waits, and wakes another only while more does; so few switches
are made where calls are short, and as many calls run at once where they are long.
The results of a while are told to the loop together.
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

#: How many calls run at once unless more are asked for.
LIMIT = 40

_Job = tuple["asyncio.Future[Any]", Context, Callable[[], Any]]

#: The calls that the request of this code has left on their threads, each as a future
#: that has a result once it has ended; None where nobody asks.
left_behind: ContextVar[list[asyncio.Future[None]] | None] = ContextVar(
    "left_behind", default=None
)

_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = WeakKeyDictionary()


async def run_on_thread(
    function: Callable[ArgsT, ReturnT], *args: ArgsT.args, **kwargs: ArgsT.kwargs
) -> ReturnT:
    """
    Call *function* on a thread, with the context variables of this code.

    A call whose task is cancelled goes on, and nobody hears of its end.
    """
    call = partial(function, *args, **kwargs) if args or kwargs else function
    result: ReturnT = await current_threads().run(call)
    return result


def current_threads() -> Threads:
    """
    Return the threads of the running loop.
    """
    loop = asyncio.get_running_loop()
    threads = _pools.get(loop)
    if threads is None:
        threads = _pools[loop] = Threads(loop)
    return threads


class Threads:
    """
    The threads of one loop.

    Attributes:
        limit: How many calls run at once. One that nobody waits for any more does
            not count, though it has a thread until it ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.limit = LIMIT
        self._loop = loop
        self._jobs: deque[_Job] = deque()
        self._ended: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        #: A thread that has nothing to do waits for its lock.
        self._asleep: list[threading.Lock] = []
        #: An item for each thread that is about to look for a job. Whoever leaves a job
        #: while there is one may count on it: it leaves this list before its last look.
        self._looking: list[None] = []
        #: Whether a thread was woken that has not looked for a job yet.
        self._waking = False
        #: Whether the loop was told of results that it has not taken yet.
        self._telling = False
        self._count = 0
        #: Calls that nobody waits for any more, with what tells of their end; None where
        #: the loop knows of the end already, and whoever waited has not left yet.
        self._abandoned: dict[asyncio.Future[Any], asyncio.Future[None] | None] = {}
        self._closed = False
        self._hosts: set[asyncio.Task[None]] = set()

    async def run(self, call: Callable[[], Any]) -> Any:
        """
        Return what *call* returns on a thread.
        """
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
        """
        End the threads that have nothing to do; those that have are left alone.
        """
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
        """
        Start another thread for the jobs that wait.
        """
        if not self._jobs or self._closed or self._count >= self.limit + len(self._abandoned):
            self._waking = False
            return
        self._count += 1
        # It belongs to no request, whose context it would keep.
        host = Context().run(self._loop.create_task, self._host())
        self._hosts.add(host)
        host.add_done_callback(self._hosts.discard)

    async def _host(self) -> None:
        """
        Keep a thread, which is one of anyio's: what runs there may call the loop.
        """
        try:
            await to_thread.run_sync(
                self._work, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        except asyncio.CancelledError:
            self._dismiss()
            raise
        except RuntimeError as error:
            # The machine has no thread left.
            self._waking = False
            if self._count == 1:
                while self._jobs:
                    self._ended.append((self._jobs.popleft()[0], None, error))
                self._tell()
        finally:
            self._count -= 1

    def _tell(self) -> None:
        """
        Give results to those who wait for them.
        """
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
                    # No future can hold it.
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
        """
        Have one more thread look for jobs; *start* starts it where none is asleep.
        """
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
        """
        Run jobs until there are no more to come.
        """
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
                # What it held is not kept until the next.
                del job
        except RuntimeError:
            # The loop is closed, and nobody waits for anything.
            if not self._loop.is_closed():
                raise

    def _sleep(self, lock: threading.Lock) -> bool:
        """
        Sleep until there may be a job; return False where there will be none.
        """
        self._asleep.append(lock)
        self._looking.pop()
        if self._jobs or self._closed:
            self._looking.append(None)
            try:
                self._asleep.remove(lock)
            except ValueError:
                # Somebody has taken it, to wake this thread.
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
        # Before the loop hears of it: the next of calls in a row finds this thread.
        self._looking.append(None)
        if not self._telling:
            self._telling = True
            self._loop.call_soon_threadsafe(self._tell)
