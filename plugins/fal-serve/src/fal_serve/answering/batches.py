"""
Batches: handlers with ``*inputs``, which are called with the inputs of many clients.

A batch takes the inputs that wait when the handler becomes free, the oldest first, and
at most *max_batch_size* of them. With *wait*, a batch that is not full waits for more
inputs until its oldest has waited that long. If an input's class defines
``can_batch(next_input, size)``, the first input of a batch decides which inputs may
follow: one that it refuses begins the next batch. So does one whose client has its files
put elsewhere, by an upload policy: the handler makes files in the context of the first.

The handler is always called with a tuple, and returns a list or tuple with one output
for each input. An exception instance among them is the error of its input; an exception
that the handler raises is the error of all. Inputs whose clients have gone before the
batch starts are left out. Once all clients of a running batch have gone, an async
handler is cancelled.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from fal_core_worker.serving import services
from fal_serve.answering.requests import current
from fal_serve.answering.threads import run_on_thread
from fal_serve.policies.uploads import UploadPolicy


class WrongOutputs(Exception):
    """A handler did not return one output for each input."""

    def __init__(self, handler: str, expected: int, got: int | str) -> None:
        super().__init__(handler, expected, got)
        self.handler = handler
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        got = f"a value of type {self.got!r}" if isinstance(self.got, str) else self.got
        return (
            f"Handler {self.handler!r} was given {self.expected} inputs, and must return a "
            f"list of {self.expected} outputs; it returned {got}."
        )


class _Raised:
    """An exception that a handler raised, as opposed to one that it returned."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Ticket:
    """
    One input that waits for its output.

    Attributes:
        future: Gets the output.

        policy: Where files that are made for it are put.

        seconds: How long the handler took, once it has ended.
    """

    __slots__ = ("arrived", "batch", "context", "future", "input", "policy", "seconds")

    def __init__(self, input: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.input: Any = input
        self.future: asyncio.Future[Any] = loop.create_future()
        self.context: contextvars.Context = contextvars.copy_context()
        request = current.get()
        self.policy: UploadPolicy | None = None if request is None else request.upload_policy
        self.arrived: float = loop.time()
        self.batch: _Batch | None = None
        self.seconds: float = 0.0


class _Batch:
    """Inputs that are passed to the handler together."""

    def __init__(self, tickets: list[Ticket]) -> None:
        self.tickets = tickets
        self.clients = len(tickets)
        self.task: asyncio.Task[Any] | None = None
        for ticket in tickets:
            ticket.batch = self

    @property
    def inputs(self) -> tuple[Any, ...]:
        return tuple(ticket.input for ticket in self.tickets)

    def leave(self) -> None:
        """Note that one client has gone, and cancel the handler if it was the last."""
        self.clients -= 1
        if not self.clients and self.task is not None:
            self.task.cancel()

    def context(self) -> contextvars.Context:
        """Return the context of the first client, with the request ids of all."""
        context = self.tickets[0].context
        if len(self.tickets) > 1:
            each = services.request_id
            ids = dict.fromkeys(ticket.context.get(each, "") for ticket in self.tickets)
            context.run(each.set, ",".join(filter(None, ids)))
        return context

    def settle(self, outcome: Sequence[Any] | _Raised, seconds: float) -> None:
        """Give each client its output or error."""
        for index, ticket in enumerate(self.tickets):
            ticket.seconds = seconds
            if ticket.future.done():
                continue
            output = outcome.error if isinstance(outcome, _Raised) else outcome[index]
            if isinstance(output, BaseException):
                ticket.future.set_exception(_raisable(output))
            else:
                ticket.future.set_result(output)


class RequestBatcher:
    """
    Batches the inputs of one handler in one event loop, and runs one batch at a time.

    Arguments:
        handler: Sync or async; a sync one runs on a thread.

        wait: Seconds that a batch which is not full waits for more inputs.
    """

    def __init__(
        self, handler: Callable[..., Any], *, max_batch_size: int, wait: float = 0.0
    ) -> None:
        self._handler = handler
        self._is_async = is_async(handler)
        self._size = max_batch_size
        self._wait = wait
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Ticket] = deque()
        self._full: asyncio.Future[None] | None = None
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, input: Any) -> Any:
        """Return the output for *input*, or raise its error."""
        ticket = self.submit(input)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self.withdraw(ticket)
            raise

    def submit(self, input: Any) -> Ticket:
        """Enqueue *input* for a batch."""
        ticket = Ticket(input, self._loop)
        self._waiting.append(ticket)
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        elif self._full is not None and len(self._waiting) >= self._size:
            _wake(self._full)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Remove *ticket*, whose client has gone."""
        ticket.future.cancel()
        if ticket.batch is not None:
            ticket.batch.leave()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    async def _run(self) -> None:
        try:
            while await self._fill():
                tickets = self._take()
                if tickets:
                    await self._process(_Batch(tickets))
        finally:
            self._runner = None

    async def _fill(self) -> bool:
        """Wait until a batch is due; return False if no input waits."""
        while self._waiting:
            left = self._waiting[0].arrived + self._wait - self._loop.time()
            if not self._wait or left <= 0 or len(self._waiting) >= self._size:
                return True
            self._full = self._loop.create_future()
            timer = self._loop.call_later(left, _wake, self._full)
            try:
                await self._full
            finally:
                timer.cancel()
                self._full = None
        return False

    def _take(self) -> list[Ticket]:
        """Remove the next batch from the queue and return it."""
        waiting = self._waiting
        tickets: list[Ticket] = []
        can_batch = None
        while waiting and len(tickets) < self._size:
            ticket = waiting[0]
            if not ticket.future.done():
                if not tickets:
                    can_batch = getattr(ticket.input, "can_batch", None)
                elif ticket.policy != tickets[0].policy:
                    break
                elif can_batch is not None:
                    try:
                        if not can_batch(ticket.input, len(tickets)):
                            break
                    except Exception as error:
                        # The error belongs to the input whose method failed.
                        tickets[0].future.set_exception(_raisable(error))
                        waiting.extendleft(reversed(tickets[1:]))
                        return []
                tickets.append(ticket)
            waiting.popleft()
        return tickets

    async def _process(self, batch: _Batch) -> None:
        began = self._loop.time()
        context = batch.context()
        if self._is_async:
            call = self.call(batch.inputs, context.get(services.request_id, ""))
        else:
            call = self._call_on_thread(batch.inputs)
        task = context.run(self._loop.create_task, call)
        if self._is_async:
            # A thread cannot be cancelled: the next batch waits until its handler ends.
            batch.task = task
        try:
            outcome = await task
        except asyncio.CancelledError as error:
            outcome = _Raised(error)
            if not task.done():
                # The event loop is shutting down.
                task.cancel()
                batch.settle(outcome, 0.0)
                raise
        if not isinstance(outcome, _Raised):
            outcome = self._check(outcome, len(batch.tickets))
        batch.settle(outcome, self._loop.time() - began)

    async def call(self, inputs: tuple[Any, ...], request_id: str) -> Any:
        """
        Return what the handler returns or raised.

        Arguments:
            request_id: The ids of all requests of the batch. The watchdog reads it from this
                frame to name the requests that block the event loop.
        """
        # Raised in this task, an exception like SystemExit would end the event loop.
        try:
            return await self._handler(*inputs)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return _Raised(error)

    async def _call_on_thread(self, inputs: tuple[Any, ...]) -> Any:
        outcome = await run_on_thread(_outcome, self._handler, inputs)
        return await outcome if inspect.isawaitable(outcome) else outcome

    def _check(self, outputs: Any, expected: int) -> Sequence[Any] | _Raised:
        name = getattr(self._handler, "__name__", repr(self._handler))
        if not isinstance(outputs, list | tuple):
            return _Raised(WrongOutputs(name, expected, type(outputs).__name__))
        if len(outputs) != expected:
            return _Raised(WrongOutputs(name, expected, len(outputs)))
        return outputs


class Batched:
    """
    An async callable that passes one item on to a batch and returns its output.

    Arguments:
        handler: Takes ``*inputs``.

        wait: Seconds that a batch which is not full waits for more inputs.
    """

    def __init__(
        self, handler: Callable[..., Any], *, max_batch_size: int, wait: float
    ) -> None:
        self._handler = handler
        self._max_batch_size = max_batch_size
        self._wait = wait
        self._batchers: WeakKeyDictionary[asyncio.AbstractEventLoop, RequestBatcher] = (
            WeakKeyDictionary()
        )
        self.__name__: str = getattr(handler, "__name__", type(handler).__name__)

    @property
    def batcher(self) -> RequestBatcher:
        """The batcher of the running loop."""
        loop = asyncio.get_running_loop()
        batcher = self._batchers.get(loop)
        if batcher is None:
            batcher = self._batchers[loop] = RequestBatcher(
                self._handler, max_batch_size=self._max_batch_size, wait=self._wait
            )
        return batcher

    async def __call__(self, item: Any) -> Any:
        return await self.batcher(item)


def is_async(handler: Callable[..., Any]) -> bool:
    """Tell whether calling *handler* returns a coroutine."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004, the method is asked for
    )


def _outcome(handler: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    try:
        return handler(*inputs)
    except BaseException as error:
        return _Raised(error)


def _raisable(error: BaseException) -> BaseException:
    """Return *error* in a form that a future can hold and no client takes for its own."""
    if not isinstance(error, StopIteration | asyncio.CancelledError):
        return error
    other = RuntimeError(f"The handler raised {type(error).__name__}.")
    other.__cause__ = error
    return other


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
