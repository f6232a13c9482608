"""
Channels: one websocket as a stream of messages instead of frames.

While the handler works, no task waits for the client: that would cost as much as a
small message takes altogether. Instead, a timer checks now and then, and if the handler
has been busy with one message for a while, the client's frames are read ahead, up to a
bound. A client that disconnects is thus noticed, and a slow handler holds a fast client
back.
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

#: Seconds that a handler may be busy before frames are read ahead.
_TICK = 0.02
#: Bytes that are read ahead, beside the buffers of the server and the system.
_AHEAD = 1 << 20
#: Bytes that a message takes in memory beside its own.
_OVERHEAD = 64
#: While the buffer is full, a disconnect would go unnoticed. So as much again is read
#: after some seconds, up to so many times, each time after twice the pause.
_LOOK = 2.0
_LOOKS = 8

_GONE = "websocket.disconnect"
#: The type of the message by which the server tells a session that it drains.
DRAIN = "fal.drain"


class ClientGone(Exception):
    """The client has closed the connection, or lost it."""


class Idle(Exception):
    """No input has arrived within the session timeout."""


class Drained(Exception):
    """The service is shutting down, and all earlier messages have been read."""


class Channel:
    """
    The messages of one websocket. It belongs to the task that creates it.

    Arguments:
        decode: Returns the input for a frame's bytes or text; raises Refused.

        encode: Returns the bytes or text of an output.

        timeout: Seconds that an idle session waits for an input.

    Attributes:
        gone: Whether the client is known to have disconnected.

        working: How many inputs are being worked on while the session reads on.

        interruptible: Whether to cancel this task if the client disconnects while it is not
            reading. Otherwise it has to check *gone*.
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
        self.gone: bool = False
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

    # -- for sessions --------------------------------------------------------------

    async def open(self) -> None:
        """
        Accept the connection.

        Raises:
            ClientGone: The client has disconnected already.
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
            ClientGone: The client has disconnected.

            Drained: The service takes no more inputs.

            Idle: None has arrived within the timeout.

            Refused: It is invalid.
        """
        if self._pump is None and not self._ahead and self._timeout is None and not self.gone:
            # The common case: nothing is read ahead, and there is no timeout.
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
            ClientGone: The client has disconnected.
        """
        message = self._encode(output)
        kind = "text" if isinstance(message, str) else "bytes"
        await self._put({"type": "websocket.send", kind: message})

    async def tell(self, facts: dict[str, Any]) -> None:
        """Send a message about the session, which is JSON regardless of the codec."""
        text = json.dumps(facts, separators=(",", ":"))
        await self._put({"type": "websocket.send", "text": text})

    async def refuse(self, refusal: Refused) -> None:
        """Send the error, and close the connection."""
        facts = {"type": "x-fal-error", "error": refusal.error, "reason": refusal.reason}
        if not self.gone:
            with contextlib.suppress(ClientGone):
                await self.tell(facts)
        await self.close(refusal.code)

    async def close(self, code: int = ENDED) -> None:
        """Close the connection."""
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
        """Restart the time that counts as idle."""
        self._active = self._loop.time()

    async def listen(self) -> Frame:
        """Wait until the client has disconnected; return the ASGI message for it."""
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
        """Cancel the session's task, which is busy while the client has disconnected."""
        if self.interruptible and self._owner is not None and not self._owner.done():
            self._interrupted.add(self._owner)
            self._owner.cancel()

    def absorb(self) -> bool:
        """Tell whether the cancellation that this task has caught came from the channel alone."""
        task = asyncio.current_task()
        if task not in self._interrupted:
            return False
        self._interrupted.discard(task)
        uncancel = getattr(task, "uncancel", None)  # Python 3.11
        return uncancel is None or uncancel() == 0

    # -- reading ahead -------------------------------------------------------------

    async def _next(self) -> Frame:
        """Return the next frame, from those read ahead or from the client."""
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
            # The server has closed the connection, and raises one of two exceptions.
            self._note_gone()
            raise ClientGone from error

    def _tick(self) -> None:
        """Start reading ahead if the handler is busy with the same message as before."""
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
                    # A middleware has ended the connection with an exception of its own.
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
