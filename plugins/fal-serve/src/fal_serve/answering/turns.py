"""Turns: a limit on how many requests are worked on at once, in the order they came."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any

logger: logging.Logger = logging.getLogger("fal_serve")

#: Seconds for which a call on a thread keeps the turn of a request that has ended.
PATIENCE = 60.0

#: How many bytes of a body are received while its request waits.
_WAITING_BODY = 1 << 20


class RequestTurns:
    """Lets *limit* requests be worked on at once. Others wait in the order they came."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._queue: deque[asyncio.Future[None]] = deque()

    def waiting(self) -> int:
        """Return how many requests wait."""
        return sum(not turn.done() for turn in self._queue)

    def take(self) -> bool:
        """Take a turn if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        """End a turn, and pass it to the next request."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def give_back_after(self, calls: Collection[asyncio.Future[None]]) -> None:
        """End a turn once the abandoned *calls* have ended, or after a minute."""
        if not calls:
            self.give_back()
            return
        left = len(calls)

        def ended(_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                timer.cancel()
                self.give_back()

        def give_up() -> None:
            for call in calls:
                call.remove_done_callback(ended)
            logger.warning(
                "A handler still runs %g s after its request has ended. Its turn goes to "
                "another request, so that more run at once than max_multiplexing allows.",
                PATIENCE,
            )
            self.give_back()

        timer = asyncio.get_running_loop().call_later(PATIENCE, give_up)
        for call in calls:
            call.add_done_callback(ended)

    async def wait(self, receive: Callable[[], Awaitable[Any]]) -> ReceivedMessages | None:
        """Wait for a turn; return the messages received meanwhile, None on disconnect."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        came = ReceivedMessages(receive)
        try:
            while not turn.done():
                listener = came.listen()
                await asyncio.wait(
                    [turn] if listener is None else [turn, listener],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if came.has_gone():
                    break
            if not came.gone:
                return came
        except BaseException:
            self._leave(turn, came)
            raise
        self._leave(turn, came)
        return None

    def _leave(self, turn: asyncio.Future[None], came: ReceivedMessages) -> None:
        came.close()
        if turn.done():
            self.give_back()
        else:
            turn.cancel()
            self._queue.remove(turn)


class ReceivedMessages:
    """The messages that a client sends while its request waits, to be received later."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._messages: deque[Any] = deque()
        self._listener: asyncio.Task[Any] | None = None
        self._size = 0
        self.gone: bool = False

    def listen(self) -> asyncio.Task[Any] | None:
        """Return a task for the next message, or None if no more are received ahead."""
        if self._listener is None and self._size < _WAITING_BODY:
            self._listener = asyncio.ensure_future(self._receive())
        return self._listener

    def has_gone(self) -> bool:
        """Keep the message that has come, and tell whether the client has disconnected."""
        if self._listener is not None and self._listener.done():
            message = self._listener.result()
            self._listener = None
            self._messages.append(message)
            self._size += len(message.get("body") or b"")
            self.gone = message["type"].endswith(".disconnect")
        return self.gone

    async def receive(self) -> Any:
        """Receive the next message, in the order they came."""
        if self._messages:
            return self._messages.popleft()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            return await listener
        return await self._receive()

    def close(self) -> None:
        """Stop receiving."""
        if self._listener is not None:
            self._listener.cancel()
