"""The inputs of a session, for handlers that iterate over them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_serve.realtime_sessions.channels import Channel, ClientGone, Drained, Idle

if TYPE_CHECKING:
    from typing_extensions import Self


class Inputs:
    """
    An async iterator over the inputs of a session, as a context manager.

    The iteration ends when the client disconnects, when it sends nothing for too long, or
    when the service drains. Leaving the context then raises the reason.

    Attributes:
        waited: Seconds for which the handler has waited for inputs.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._end: ClientGone | Drained | Idle | None = None
        self.waited: float = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None and self._end is not None:
            raise self._end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._end is None:
            began = time.perf_counter()
            try:
                return await self.read()
            except (ClientGone, Drained, Idle) as end:
                self._end = end
            finally:
                self.waited += time.perf_counter() - began
        raise StopAsyncIteration

    async def read(self) -> Any:
        """
        Return the next input.

        Raises:
            As :meth:`Channel.read` does.
        """
        return await self._channel.read()


class BufferedInputs(Inputs):
    """Inputs that are read while the handler works. If there are too many, the oldest is dropped."""

    def __init__(self, channel: Channel, buffering: int) -> None:
        super().__init__(channel)
        self._kept: deque[Any] = deque(maxlen=buffering)
        self._came = asyncio.Event()
        self._waiting = False
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.ensure_future(self._keep())
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await super().__aexit__(kind, error, trace)

    async def read(self) -> Any:
        channel = self._channel
        channel.working = 0
        channel.rest()
        self._waiting = True
        try:
            while not self._kept:
                if self._error is not None:
                    raise self._error
                self._came.clear()
                await self._came.wait()
        finally:
            self._waiting = False
        channel.working = 1
        return self._kept.popleft()

    async def _keep(self) -> None:
        try:
            await keep_newest(self._channel, self._kept, self._came.set)
        except Exception as error:
            self._error = error
            self._came.set()
            if isinstance(error, ClientGone) and not self._waiting:
                self._channel.interrupt()


async def keep_newest(channel: Channel, kept: deque[Any], came: Callable[[], None]) -> None:
    """
    Keep the inputs of *channel* in *kept*, which drops the oldest if there are too many.

    Arguments:
        came: Called after each input.

    Raises:
        As :meth:`Channel.read` does, when the channel ends.
    """
    while True:
        kept.append(await channel.read())
        came()
        # Let a handler that is free take it before the next input drops it.
        await asyncio.sleep(0)
