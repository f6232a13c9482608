"""
Relays of gRPC calls to the replica that decides.

Messages are passed on as they are. A call that may have run when the replica is lost ends
with a sentence that says so, and one that only reads is made again.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import attrs
import grpc
import grpc.aio
from multidict import CIMultiDict

from fal_server.errors import Refusal
from fal_server.grpc.service import SERVICE, Context
from fal_server.listeners.grpc_tunnels import MARK, SERVER_HOST, TunnelMouth
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
_PREFIXES = ("grpc-", ":", MARK)

#: Seconds for the connection with a replica.
_LONGEST_CONNECT = 5.0


@attrs.define(eq=False)
class _Call:
    """
    A call that is passed on.

    Attributes:
        first: Its first message, once that has come.

        taken: How many of its messages were passed on.

        has_answered: Whether anything was answered.
    """

    name: str
    contents: AsyncIterator[bytes]
    first: bytes | None = None
    taken: int = 0
    has_answered: bool = False

    @property
    def is_repeatable(self) -> bool:
        """
        Whether it may be made again.
        """
        method = self.name.rpartition("/")[2]
        is_read = method.startswith(_READS) and not self.has_answered and self.taken < 2
        return is_read or not self.taken

    async def messages(self) -> AsyncIterator[bytes]:
        """
        Yield its messages, the first one again if that was passed on before.
        """
        if self.first is None:
            self.first = await anext(aiter(self.contents), None)
        if self.first is not None:
            self.taken = max(self.taken, 1)
            yield self.first
        async for content in self.contents:
            self.taken += 1
            yield content


@attrs.define(eq=False)
class GrpcRelay(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """
    Passes the calls of the service on to the replica that decides.

    Arguments:
        admit: Awaited with the headers of a call, and raises where its key is not valid.

        mouth: Where calls come from. It is told of each whose key is valid.
    """

    lines: Lines
    admit: Callable[[CIMultiDict[str]], Awaitable[bool]]
    mouth: TunnelMouth

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """
        Return what handles a call.
        """
        if not details.method.startswith(f"/{SERVICE.full_name}/"):
            return None
        method = details.method

        async def relay(
            contents: AsyncIterator[bytes], context: Context
        ) -> AsyncIterator[bytes]:
            call = _Call(method, contents)
            try:
                async for message in self._forward(call, context):
                    yield message
            except Refusal as refusal:
                await context.abort(grpc.StatusCode[refusal.status], str(refusal))

        return grpc.stream_stream_rpc_method_handler(relay)

    async def _forward(self, call: _Call, context: Context) -> AsyncIterator[bytes]:
        metadata = context.invocation_metadata() or ()
        headers = CIMultiDict((key, value) for key, value in metadata if isinstance(value, str))
        if hmac.compare_digest(headers.get(_KEY, "").encode(), self.lines.secret.encode()):
            told = ((_KEY, NOT_DECIDING),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "It does not decide.", told)
        if await self.admit(headers):
            self.mouth.recognise(context.peer())
        named = self.mouth.host_of(context.peer(), headers)
        kept = [*pick_metadata(metadata), (SERVER_HOST, named)]
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            line = await self.lines.wait(until)
            try:
                async for message in self._try(line, call, context, kept):
                    yield message
                return
            except NotBegun:
                await asyncio.sleep(PAUSE)
                if asyncio.get_running_loop().time() > until:
                    raise

    async def _try(
        self, line: Line, call: _Call, context: Context, metadata: list[Any]
    ) -> AsyncIterator[bytes]:
        """
        Yield what a replica answers, and end the call as it does.

        Raises:
            NotBegun: It was lost, and the call may be made again.

            DeciderLost: It was lost, and the call may have run.
        """
        await _connect(line)
        told: Any = (*metadata, (_KEY, self.lines.secret))
        try:
            upstream = line.channel.stream_stream(call.name)(call.messages(), metadata=told)
        except grpc.aio.UsageError:
            # The channel was closed in this moment.
            raise NotBegun from None
        try:
            if not call.has_answered:
                await context.send_initial_metadata(await upstream.initial_metadata())
            async for message in upstream:
                call.has_answered = True
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
        # Whatever a server refuses has metadata of its own.
        is_lost = is_lost or (code is grpc.StatusCode.UNAVAILABLE and not told)
        if (_KEY, NOT_DECIDING) in told:
            raise NotBegun
        if is_lost:
            raise NotBegun if call.is_repeatable else DeciderLost
        if code is not grpc.StatusCode.OK:
            await context.abort(code, await upstream.details() or "", told)
        context.set_trailing_metadata(told)


def pick_metadata(metadata: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """
    Return what of the metadata of a call is passed on.
    """
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
