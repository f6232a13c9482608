"""
Relays of gRPC calls to the replica that decides.

Messages are passed on as they are. A call that may have run when the replica is lost ends
with a sentence that says so, and one that only reads is made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import attrs
import grpc
import grpc.aio
from multidict import CIMultiDict

from fal_server.errors import Refusal
from fal_server.grpc.service import SERVICE, refuse_method
from fal_server.listeners.grpc_calls import SERVER_HOST, GrpcCall
from fal_server.listeners.grpc_encodings import CallFailed
from fal_server.listeners.http_connections import RELAY
from fal_server.replicas.http_relays import NOT_DECIDING, PAUSE, DeciderLost, NotBegun
from fal_server.replicas.lines import Line, Lines
from fal_server.replicas.seats import PATIENCE

#: The key of relays in metadata.
_KEY = RELAY.lower()

#: How the names of methods begin that change nothing.
_READS = ("List", "Get")

#: Metadata that belongs to one connection: whole keys, and how keys begin.
_OF_CONNECTION = frozenset({"user-agent", "te", "content-type", _KEY, SERVER_HOST})
_PREFIXES = ("grpc-", ":")

#: Seconds for the connection with a replica.
_LONGEST_CONNECT = 5.0


@attrs.define(eq=False)
class _RelayedCall:
    """
    A call that is passed on.

    Attributes:
        call: The call of the client.

        first: Its first message, once that has come.

        taken: How many of its messages were passed on.

        has_answered: Whether anything was answered.
    """

    call: GrpcCall
    first: bytes | None = None
    taken: int = 0
    has_answered: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be made again."""
        method = self.call.method.rpartition("/")[2]
        is_read = method.startswith(_READS) and not self.has_answered and self.taken < 2
        return is_read or not self.taken

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield its messages, the first one again if that was passed on before."""
        if self.first is None:
            self.first = await anext(self.call, None)
        if self.first is not None:
            self.taken = max(self.taken, 1)
            yield self.first
        async for content in self.call:
            self.taken += 1
            yield content


@attrs.define(eq=False)
class GrpcRelay:
    """
    Passes the calls of the service on to the replica that decides.

    Arguments:
        admit: Awaited with the headers of a call, and raises where its key is not valid.
    """

    lines: Lines
    admit: Callable[[CIMultiDict[str]], Awaitable[None]]

    async def answer(self, call: GrpcCall) -> AsyncGenerator[bytes, None]:
        """
        Yield the messages that answer a call.

        Raises:
            CallFailed: It ends otherwise than in order.
        """
        if not call.method.startswith(f"/{SERVICE.full_name}/"):
            raise refuse_method(call.method)
        try:
            async with contextlib.aclosing(self._forward(call)) as messages:
                async for message in messages:
                    yield message
        except Refusal as refusal:
            raise CallFailed(grpc.StatusCode[refusal.status], str(refusal)) from refusal

    async def _forward(self, call: GrpcCall) -> AsyncGenerator[bytes, None]:
        headers = CIMultiDict(call.texts)
        if hmac.compare_digest(headers.get(_KEY, "").encode(), self.lines.secret.encode()):
            told = ((_KEY, NOT_DECIDING),)
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, "It does not decide.", told)
        await self.admit(headers)
        call.recognise()
        kept = [*pick_metadata(call.metadata), (SERVER_HOST, call.server_host)]
        until = asyncio.get_running_loop().time() + PATIENCE
        relayed = _RelayedCall(call)
        while True:
            line = await self.lines.wait(until)
            try:
                async with contextlib.aclosing(self._try(line, relayed, kept)) as messages:
                    async for message in messages:
                        yield message
                return
            except NotBegun:
                await asyncio.sleep(PAUSE)
                if asyncio.get_running_loop().time() > until:
                    raise

    async def _try(
        self, line: Line, relayed: _RelayedCall, metadata: list[Any]
    ) -> AsyncGenerator[bytes, None]:
        """
        Yield what a replica answers, and end the call as it does.

        Raises:
            NotBegun: It was lost, and the call may be made again.

            DeciderLost: It was lost, and the call may have run.
        """
        await _connect(line)
        told: Any = (*metadata, (_KEY, self.lines.secret))
        call = relayed.call
        try:
            upstream = line.channel.stream_stream(call.method)(
                relayed.messages(), metadata=told
            )
        except grpc.aio.UsageError:
            # The channel was closed in this moment.
            raise NotBegun from None
        try:
            # Once: it may be another attempt.
            call.greet([*(await upstream.initial_metadata() or ())])
            async for message in upstream:
                relayed.has_answered = True
                yield message
            code, trailing = await upstream.code(), await upstream.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            code, trailing = error.code(), error.trailing_metadata()
        except asyncio.CancelledError:
            if not line.seat.gone.is_set():
                raise
            code, trailing = grpc.StatusCode.UNAVAILABLE, ()
        finally:
            upstream.cancel()
        told = [(key, value) for key, value in trailing or ()]
        is_lost = line.seat.gone.is_set() and code is not grpc.StatusCode.OK
        # What a server refuses has metadata of its own.
        is_lost = is_lost or (code is grpc.StatusCode.UNAVAILABLE and not told)
        if (_KEY, NOT_DECIDING) in told:
            raise NotBegun
        if is_lost:
            raise NotBegun if relayed.is_repeatable else DeciderLost
        if code is not grpc.StatusCode.OK:
            raise CallFailed(code, await upstream.details() or "", told)
        call.trailing = told


def pick_metadata(metadata: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return what of the metadata of a call is passed on."""
    return [
        (key, value)
        for key, value in metadata
        if key not in _OF_CONNECTION and not key.startswith(_PREFIXES)
    ]


async def _connect(line: Line) -> None:
    """
    Wait for the connection with a replica.

    Raises:
        NotBegun: There is none.
    """
    ready = asyncio.ensure_future(line.channel.channel_ready())
    gone = asyncio.ensure_future(line.seat.gone.wait())
    try:
        await asyncio.wait(
            {ready, gone}, timeout=_LONGEST_CONNECT, return_when=asyncio.FIRST_COMPLETED
        )
        is_ready = ready.done() and not ready.cancelled() and ready.exception() is None
        if gone.done() or not is_ready:
            raise NotBegun
    finally:
        for each in (ready, gone):
            each.cancel()
        await asyncio.gather(ready, gone, return_exceptions=True)
