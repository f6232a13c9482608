"""
Channels: one websocket as a session uses it, by messages instead of frames.

Nobody waits for the client while the handler works, in a task or otherwise: that
would cost as much as small messages take. Instead a timer looks now and then, and
where the handler has been at one message for a while, what the client sends is read
ahead, up to a bound. So a client that goes away is noticed, and a slow handler holds
back a fast client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from fal_serve.realtime_sessions.refusals import ENDED, Refused

Frame = dict[str, Any]

#: Seconds that a handler may work until its client is looked after.
_TICK = 0.02
#: Bytes that are read ahead, beside what the server and the system hold back.
_AHEAD = 1 << 20
#: Bytes that a message takes beside its own.
_OVERHEAD = 64
#: Once that is full nobody would learn that the client has gone. So as much again is
#: read after some seconds, so many times, each after twice the time of the last.
_LOOK = 2.0
_LOOKS = 8

_GONE = "websocket.disconnect"
#: What the server sends a session after which no more messages come.
DRAIN = "fal.drain"


class ClientGone(Exception):
    """
    The client has closed the connection, or lost it.
    """


class Idle(Exception):
    """
    No input has come for as long as the session waits.
    """


class Drained(Exception):
    """
    The service ends, and all that came before has been read.
    """


class Channel:
    """
    The messages of one websocket, which belongs to the task that makes it.

    Arguments:
        decode: Makes an input of a frame's bytes or text; raises Refused.

        encode: Makes bytes or text of an output.

        timeout: Seconds to wait for an input while nothing else is to be done.

    Attributes:
        gone: Whether the client is known to have gone.

        working: How many inputs the session works at beside reading.

        interruptible: Whether this task is cancelled when the client goes while it
            does not read. Otherwise it is to look at *gone*.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[Frame]],
        send: Callable[[Frame], Awaitable[None]],
        *,
        decode: Callable[[bytes | str], Any],
        encode: Callable[[Any], bytes | str],
        timeout: float | None,
    ) -> None:
        self._receive = receive
        self._send = send
        self._decode = decode
        self._encode = encode
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._owner = asyncio.current_task()
        self.gone = False
        self.working = 0
        self.interruptible = True
        self._ahead: deque[Frame] = deque()
        self._ahead_bytes = self._looks = 0
        self._pump: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[Frame] | None = None
        self._reading = False
        self._reader: asyncio.Task[Any] | None = None
        self._reads = 0
        self._reads_at_tick = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None
        self._idler: asyncio.TimerHandle | None = None
        self._active = 0.0
        self._interrupted: set[asyncio.Task[Any]] = set()
        self._listeners: set[asyncio.Future[None]] = set()

    # -- what a session does -----------------------------------------------------

    async def open(self) -> None:
        """
        Accept the connection.

        Raises:
            ClientGone: It was too late.
        """
        if (await self._receive())["type"] != "websocket.connect":
            self._note_gone()
            raise ClientGone
        await self._put({"type": "websocket.accept", DRAIN: True})
        if self._timeout is not None:
            self.rest()
            self._idler = self._loop.call_later(self._timeout, self._look_for_idleness)

    async def read(self) -> Any:
        """
        Return the next input.

        Raises:
            ClientGone: There will be none.

            Drained: The service takes no more.

            Idle: There was none for too long.

            Refused: It is not one.
        """
        if self._pump is None and not self._ahead and self._timeout is None and not self.gone:
            # As it is for most messages: nothing else is to be thought of.
            self._reading = True
            try:
                frame = await self._receive()
            finally:
                self._reading = False
        else:
            frame = await self._next()
        self._reads += 1
        if self._ticker is None:
            self._reads_at_tick = self._reads
            self._ticker = self._loop.call_later(_TICK, self._tick)
        if frame["type"] != "websocket.receive":
            if frame["type"] == DRAIN:
                raise Drained
            self._note_gone()
            raise ClientGone
        data = frame.get("bytes")
        return self._decode(frame["text"] if data is None else data)

    async def write(self, output: Any) -> None:
        """
        Send an output.

        Raises:
            ClientGone: Nobody takes it.
        """
        message = self._encode(output)
        kind = "text" if isinstance(message, str) else "bytes"
        await self._put({"type": "websocket.send", kind: message})

    async def tell(self, facts: dict[str, Any]) -> None:
        """
        Send a message about the session, which is JSON whatever the codec.
        """
        text = json.dumps(facts, separators=(",", ":"))
        await self._put({"type": "websocket.send", "text": text})

    async def refuse(self, refusal: Refused) -> None:
        """
        Tell of what went wrong, and close the connection.
        """
        facts = {"type": "x-fal-error", "error": refusal.error, "reason": refusal.reason}
        if not self.gone:
            with contextlib.suppress(ClientGone):
                await self.tell(facts)
        await self.close(refusal.code)

    async def close(self, code: int = ENDED) -> None:
        """
        Close the connection.
        """
        for timer in (self._ticker, self._looker, self._idler):
            if timer is not None:
                timer.cancel()
        try:
            if not self.gone:
                await self._put({"type": "websocket.close", "code": code})
        except ClientGone:
            pass
        finally:
            self._note_gone()
            if self._pump is not None:
                self._pump.cancel()

    def rest(self) -> None:
        """
        Count the time in which nothing is to be done from now on.
        """
        self._active = self._loop.time()

    async def listen(self) -> Frame:
        """
        Wait until the client has gone; tell so as ASGI does.
        """
        if not self.gone:
            self._read_ahead()
            future: asyncio.Future[None] = self._loop.create_future()
            self._listeners.add(future)
            try:
                await future
            finally:
                self._listeners.discard(future)
        return {"type": _GONE, "code": 1006}

    def interrupt(self) -> None:
        """
        Cancel the task of the session, which works while the client has gone.
        """
        if self.interruptible and self._owner is not None and not self._owner.done():
            self._interrupted.add(self._owner)
            self._owner.cancel()

    def absorb(self) -> bool:
        """
        Tell whether the cancellation that this task has met was the channel's alone.
        """
        task = asyncio.current_task()
        if task not in self._interrupted:
            return False
        self._interrupted.discard(task)
        uncancel = getattr(task, "uncancel", None)  # Python 3.11
        return uncancel is None or uncancel() == 0

    # -- how it is done ----------------------------------------------------------

    async def _next(self) -> Frame:
        """
        Return the next frame, from those read ahead or from the client.
        """
        if self._ahead:
            frame = self._ahead.popleft()
            self._ahead_bytes -= _size(frame)
            if not self._ahead:
                self._looks = 0
            return frame
        if self.gone:
            return {"type": _GONE}
        self._reading = True
        if self._timeout is not None:
            self._reader = asyncio.current_task()
            self.rest()
        try:
            if self._pump is None:
                return await self._receive()
            self._waiter = self._loop.create_future()
            return await self._waiter
        except asyncio.CancelledError:
            if self.absorb():
                raise Idle from None
            raise
        finally:
            self._reading = False
            self._reader = self._waiter = None

    async def _put(self, frame: Frame) -> None:
        if self.gone:
            raise ClientGone
        try:
            await self._send(frame)
        except (OSError, RuntimeError) as error:
            # The server has closed the connection, and says so in one of two ways.
            self._note_gone()
            raise ClientGone from error

    def _tick(self) -> None:
        """
        Look after the client if the handler is where it was the last time.
        """
        self._ticker = None
        if self.gone or self._reading:
            return
        if self._reads == self._reads_at_tick:
            self._read_ahead()
            return
        self._reads_at_tick = self._reads
        self._ticker = self._loop.call_later(_TICK, self._tick)

    def _read_ahead(self) -> None:
        if self._pump is None and not self._reading and self._has_room():
            self._pump = self._loop.create_task(self._fetch())

    def _has_room(self) -> bool:
        return self._ahead_bytes < _AHEAD * (1 + self._looks)

    def _look(self) -> None:
        self._looker = None
        if self._pump is None and not self._reading and not self._has_room():
            self._looks += 1
            self._read_ahead()

    async def _fetch(self) -> None:
        try:
            while self._has_room():
                try:
                    frame = await self._receive()
                except Exception:
                    # Whoever is between has ended the connection in a way of its own.
                    frame = {"type": _GONE}
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_result(frame)
                    return
                self._ahead.append(frame)
                self._ahead_bytes += _size(frame)
                if frame["type"] == _GONE:
                    self._note_gone()
                    self.interrupt()
                    return
            if self._looker is None and self._looks < _LOOKS:
                delay = _LOOK * 2**self._looks
                self._looker = self._loop.call_later(delay, self._look)
        finally:
            self._pump = None

    def _note_gone(self) -> None:
        self.gone = True
        for future in self._listeners:
            if not future.done():
                future.set_result(None)

    def _look_for_idleness(self) -> None:
        assert self._timeout is not None
        now = self._loop.time()
        if self._reader is None or self.working:
            self.rest()
        left = self._active + self._timeout - now
        if left <= 0 and self._reader is not None:
            self._interrupted.add(self._reader)
            self._reader.cancel()
            left = self._timeout
        self._idler = self._loop.call_later(left, self._look_for_idleness)


def _size(frame: Frame) -> int:
    return len(frame.get("bytes") or frame.get("text") or b"") + _OVERHEAD
