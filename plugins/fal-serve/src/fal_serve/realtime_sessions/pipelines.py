"""Pipelines: sessions that read on while their handler works."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.batches import RequestBatcher, Ticket
from fal_serve.realtime_sessions.channels import Channel, ClientGone
from fal_serve.realtime_sessions.inputs import keep_newest

#: Sends the output of one input, with the seconds that the handler took for it.
Answer = Callable[[Any, float], Awaitable[None]]


class Pipeline(ABC):
    """A reader task and a worker task, for the time of a session."""

    def __init__(self, channel: Channel, answer: Answer) -> None:
        self._channel = channel
        self._answer = answer
        self._came = asyncio.Event()
        self._ended = False

    async def run(self) -> None:
        """Read and answer until one of the tasks ends; inputs that were read are still answered."""
        reader = asyncio.ensure_future(self.read())
        worker = asyncio.ensure_future(self.work())
        try:
            await asyncio.wait((reader, worker), return_when=asyncio.FIRST_COMPLETED)
            if not worker.done() and not isinstance(reader.exception(), ClientGone):
                self._ended = True
                self._came.set()
                await worker
            await (worker if worker.done() else reader)
            await reader
        except BaseException:
            self.abandon()
            if self._channel.gone and not self._channel.interruptible:
                # The handler runs on a thread, and cannot be cancelled.
                await asyncio.wait((worker,))
            raise
        finally:
            reader.cancel()
            worker.cancel()
            await asyncio.gather(reader, worker, return_exceptions=True)

    async def wait(self) -> bool:
        """Wait for the next input; return False if there will be none."""
        self._channel.working = 0
        self._channel.rest()
        if self._ended:
            return False
        self._came.clear()
        await self._came.wait()
        return True

    def note(self, working: int) -> None:
        """Note that *working* inputs are unanswered."""
        self._channel.working = working
        self._came.set()

    @abstractmethod
    async def read(self) -> None:
        """Read inputs until the channel ends."""

    @abstractmethod
    async def work(self) -> None:
        """Answer inputs until there are no more."""

    @abstractmethod
    def abandon(self) -> None:
        """Discard the inputs that are not being worked on."""


class BufferedPipeline(Pipeline):
    """
    Has inputs wait for the handler, which takes one, or a batch of those that wait.

    With a number for buffering, the oldest is dropped if there are too many; else the
    client is held back.
    """

    def __init__(
        self,
        channel: Channel,
        answer: Answer,
        signature: RouteSignature,
        call: Callable[..., Awaitable[Any]],
    ) -> None:
        super().__init__(channel, answer)
        self._call = call
        self._size = signature.max_batch_size
        self._inputs: deque[Any] = deque(maxlen=signature.buffering)
        self._room = asyncio.Event()

    async def read(self) -> None:
        if self._inputs.maxlen is not None:
            await keep_newest(self._channel, self._inputs, lambda: self.note(1))
        while True:
            while len(self._inputs) >= self._size:
                self._room.clear()
                await self._room.wait()
            self._inputs.append(await self._channel.read())
            self.note(1)

    async def work(self) -> None:
        while self._inputs or await self.wait():
            if not self._inputs:
                continue
            batch = self._take()
            began = time.perf_counter()
            output = await self._call(*batch)
            await self._answer(output, time.perf_counter() - began)

    def _take(self) -> list[Any]:
        """Remove the next batch from those that wait and return it."""
        waiting = self._inputs
        batch = [waiting.popleft()]
        can_batch = getattr(batch[0], "can_batch", None)
        while waiting and len(batch) < self._size:
            if can_batch is not None and not can_batch(waiting[0], len(batch)):
                break
            batch.append(waiting.popleft())
        self._room.set()
        return batch

    def abandon(self) -> None:
        self._inputs.clear()
        self._ended = True
        self._came.set()


class BatchedPipeline(Pipeline):
    """Has inputs wait for a batch, together with those of other sessions of the route."""

    def __init__(
        self,
        channel: Channel,
        answer: Answer,
        signature: RouteSignature,
        batcher: RequestBatcher,
    ) -> None:
        super().__init__(channel, answer)
        self._batcher = batcher
        self._buffering = signature.buffering
        self._tickets: deque[Ticket] = deque()
        self._room = asyncio.Event()
        # One batch is being worked on while the next one fills.
        self._limit = 2 * signature.max_batch_size + (signature.buffering or 0)

    async def read(self) -> None:
        while True:
            while len(self._tickets) >= self._limit:
                self._room.clear()
                await self._room.wait()
            ticket = self._batcher.submit(await self._channel.read())
            self._tickets.append(ticket)
            self.note(len(self._tickets))
            if self._buffering is not None:
                await asyncio.sleep(0)
                self._drop(self._buffering)

    def _drop(self, buffering: int) -> None:
        waiting = [each for each in self._tickets if each.batch is None]
        for ticket in waiting[: max(0, len(waiting) - buffering)]:
            self._batcher.withdraw(ticket)
            self._tickets.remove(ticket)

    async def work(self) -> None:
        tickets = self._tickets
        while tickets or await self.wait():
            if not tickets:
                continue
            ticket = tickets[0]
            await asyncio.wait((ticket.future,))
            if not ticket.future.cancelled():
                await self._answer(ticket.future.result(), ticket.seconds)
                tickets.popleft()
            self._channel.working = len(tickets)
            self._room.set()

    def abandon(self) -> None:
        for ticket in self._tickets:
            if not ticket.future.done():
                self._batcher.withdraw(ticket)
