"""Running calls: how many there may be, and how each is answered."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from fal_server.limits import Limits
from fal_server.listeners.grpc_calls import Answer, GrpcCall
from fal_server.listeners.grpc_encodings import CallFailed
from fal_server.listeners.turns import Line

logger = logging.getLogger(__name__)

#: How many calls of clients without a key are answered at once, or so: each ends as soon as its
#: key has been looked for, and more would delay those of others.
_STRANGERS = 64

#: How many large messages are decompressed at once.
_INFLATING = 2

#: Seconds that cancelled calls have to clean up when the server ends.
_CLEANUP = 2.0


class RunningCalls:
    """
    The calls of all connections of a server.

    Arguments:
        answer: Gives the messages that answer a call, and raises :class:`CallFailed` where it
            ends otherwise than in order. It is cancelled when the client has gone.

    Attributes:
        line: The connections whose clients have shown no key, which are read in turns.

        tasks: What answers them.

        inflating: The threads that decompress large messages.
    """

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self.answer = answer
        self._most = limits.most_calls
        self.tasks: set[asyncio.Task[None]] = set()
        self.inflating = ThreadPoolExecutor(_INFLATING, "grpc-messages")
        self._known: set[GrpcCall] = set()
        #: Calls over connections whose client has shown no key.
        self._strangers: set[GrpcCall] = set()
        most = min(_STRANGERS, self._most)
        self.line = Line(lambda: len(self._strangers) < most)

    def begin(
        self, call: GrpcCall, *, is_known: bool, ended: Callable[[GrpcCall], object]
    ) -> bool:
        """
        Begin to answer a call. Return False where it is refused.

        Arguments:
            is_known: Whether its client has shown a key before.

            ended: Called when it has ended.
        """
        try:
            seconds = call.read_timeout()
            if is_known:
                self.recognise(call)
            else:
                self._strangers.add(call)
        except CallFailed as failure:
            call.end(failure.status, str(failure))
            return False
        loop = asyncio.get_running_loop()
        if seconds is not None:
            late = (grpc.StatusCode.DEADLINE_EXCEEDED, "The time of the call is over.")
            call.timer = loop.call_later(seconds, call.stop, *late)
        task = call.task = loop.create_task(self._answer(call))
        self.tasks.add(task)
        task.add_done_callback(functools.partial(self._forget, call, ended))
        return True

    def recognise(self, call: GrpcCall) -> None:
        """
        Count a call as one of a client with a key.

        Raises:
            CallFailed: As many calls run as may.
        """
        if call in self._known:
            return
        if len(self._known) >= self._most:
            raise CallFailed(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most} calls run at once. Send it again in a while.",
            )
        self._known.add(call)
        self._strangers.discard(call)
        self.line.go_on()

    async def _answer(self, call: GrpcCall) -> None:
        try:
            async with contextlib.aclosing(self.answer(call)) as messages:
                await _send_all(call, messages)
            call.greet(())
            call.end(grpc.StatusCode.OK, metadata=call.trailing)
        except CallFailed as failure:
            call.end(failure.status, str(failure), failure.metadata)
        except asyncio.CancelledError:
            # Nothing is sent where its client has gone.
            call.end(grpc.StatusCode.CANCELLED, "The server has cancelled the call.")
            raise
        except Exception:
            logger.exception("%s failed", call.method)
            call.end(grpc.StatusCode.INTERNAL, "An internal error occurred.")

    def _forget(
        self, call: GrpcCall, ended: Callable[[GrpcCall], object], task: asyncio.Task[None]
    ) -> None:
        self.tasks.discard(task)
        self._strangers.discard(call)
        self._known.discard(call)
        self.line.go_on()
        if call.timer is not None:
            call.timer.cancel()
        ended(call)

    async def close(self) -> None:
        """Cancel all calls, and give them a moment to clean up."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait([*self.tasks], timeout=_CLEANUP)
        self.inflating.shutdown(wait=False, cancel_futures=True)


async def _send_all(call: GrpcCall, messages: AsyncGenerator[bytes, None]) -> None:
    async for message in messages:
        try:
            await call.send(message)
        except asyncio.CancelledError as error:
            # What answers it may know why, as where its key was revoked.
            with contextlib.suppress(StopAsyncIteration):
                await messages.athrow(error)
            raise
