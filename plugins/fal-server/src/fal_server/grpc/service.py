"""
The gRPC service: authentication, permissions and error mapping.

The methods themselves are implemented by other objects, under their names in the
protocol. A method that no object has is UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any, TypeAlias

import attrs
import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from isolate_proto.controller_pb2 import DESCRIPTOR

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.access.permissions import PROCEDURES
from fal_server.errors import Invalid, Refusal, Unanswered, level_of
from fal_server.grpc.messages import check_choices
from fal_server.grpc.traces import trace_of
from fal_server.listeners.grpc_tunnels import TunnelMouth
from fal_server.listeners.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

#: The metadata key by which clients know a server of fal-core.
ANNOUNCEMENT = "fal-core-server"

#: The metadata key by which the server knows a client of fal-core.
CORE_CLIENT = "fal-core-client"

#: Seconds within which the only message of a call must be complete.
_LONGEST_READ = 600.0

#: The descriptor of the service.
SERVICE = DESCRIPTOR.services_by_name["IsolateController"]


class Controller:
    """
    The service, made of objects that implement its methods.

    A method takes the message and the :class:`Caller`: ``async def ListSecrets(self,
    request, caller)`` returns a message, ``async def Run(self, request, caller)`` is a
    generator of messages. It is cancelled when the client cancels or disconnects. It
    raises a :class:`Refusal` with a sentence for the client; any other exception is
    logged, and the client gets an internal error without its text.

    *mouth* is where calls come from. It is told of each caller with a valid key, and tells
    what the caller names the server.

    Each message is taken from a stream, as gRPC reads one for a handler of a single message
    before it calls that: nothing of a message is read before its sender is authenticated.
    """

    def __init__(
        self,
        identity: CallerIdentity,
        metrics: ServerMetrics,
        mouth: TunnelMouth,
        *answering: object,
    ) -> None:
        self._identity = identity
        self._metrics = metrics
        self._mouth = mouth
        self._greeting = ((ANNOUNCEMENT, version("fal-server")),)
        self._answering = answering

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """
        Return the handler of the service, for a gRPC server.
        """
        handlers = {method.name: self._handle(method) for method in SERVICE.methods}
        return grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)

    def _handle(self, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        """
        Return the handler of a method, wrapped in authentication and error mapping.
        """
        name, message = method.name, GetMessageClass(method.input_type)
        found = [getattr(each, name) for each in self._answering if hasattr(each, name)]
        answer = found[0] if found else None
        read = functools.partial(_read_all if method.client_streaming else _read_one, message)
        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(name, answer, read), response_serializer=_write
            )
        return grpc.stream_unary_rpc_method_handler(
            self._answer(name, answer, read), response_serializer=_write
        )

    def _answer(
        self,
        name: str,
        answer: Callable[[Any, Caller], Awaitable[Any]] | None,
        read: Callable[[AsyncIterator[bytes]], Awaitable[Any]],
    ) -> Any:
        async def guarded(contents: AsyncIterator[bytes], context: Context) -> Any:
            try:
                caller = await self._admit(name, context)
                if answer is None:
                    raise Unanswered(name)
                message = await answer(await read(contents), caller)
            except Exception as error:
                await self._refuse(name, context, error)
            else:
                self._count(name, grpc.StatusCode.OK)
                return message

        return guarded

    def _stream(
        self,
        name: str,
        answer: Callable[[Any, Caller], AsyncGenerator[Any, None]] | None,
        read: Callable[[AsyncIterator[bytes]], Awaitable[Any]],
    ) -> Any:
        async def guarded(
            contents: AsyncIterator[bytes], context: Context
        ) -> AsyncIterator[Any]:
            try:
                caller = await self._admit(name, context)
                if answer is None:
                    raise Unanswered(name)
                request = await read(contents)
                with self._metrics.streams.track_inprogress():
                    async with (
                        self._identity.revocations.hold(caller),
                        contextlib.aclosing(answer(request, caller)) as messages,
                    ):
                        async for message in messages:
                            yield message
                self._count(name, grpc.StatusCode.OK)
            except Exception as error:
                await self._refuse(name, context, error)

        return guarded

    async def _admit(self, name: str, context: Context) -> Caller:
        """
        Authenticate the caller of a method, and check the permission.

        Raises:
            Refusal: The caller is not authenticated, or lacks the permission.
        """
        await context.send_initial_metadata(self._greeting)
        headers = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        caller = await self._identity.authenticate(headers)
        self._mouth.recognise(context.peer())
        caller.require(PROCEDURES[name])
        return attrs.evolve(
            caller,
            trace=trace_of(headers),
            is_core=CORE_CLIENT in headers,
            server_host=self._mouth.host_of(context.peer(), headers),
        )

    async def _refuse(self, name: str, context: Context, error: Exception) -> None:
        """
        Abort the call with the status of *error*.
        """
        if isinstance(error, Refusal):
            logger.log(level_of(error), "%s refused: %s: %s", name, type(error).__name__, error)
            status, sentence = grpc.StatusCode[error.status], str(error)
        else:
            logger.error("%s failed", name, exc_info=error)
            status, sentence = grpc.StatusCode.INTERNAL, "An internal error occurred."
        self._count(name, status)
        # By it a replica knows an answer from a connection that was lost.
        await context.abort(status, sentence, self._greeting)

    def _count(self, name: str, status: grpc.StatusCode) -> None:
        self._metrics.procedures.labels(name, status.name).inc()
        if status is grpc.StatusCode.UNAUTHENTICATED:
            self._metrics.refused_keys.inc()


class OtherMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """
    Answers the methods that are not in the protocol, such as those of other services or of
    newer clients. Nothing of their messages is read.
    """

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        async def refuse(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            refusal = Unanswered(f"the procedure {details.method[:200]}")
            await context.abort(grpc.StatusCode[refusal.status], str(refusal))
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)


def _read(message: type[Message], content: bytes) -> Message:
    """
    Parse a message.

    Raises:
        Invalid: It cannot be parsed, or names a choice that there is not.
    """
    found = message()
    try:
        found.ParseFromString(content)
    except DecodeError:
        raise Invalid("The message cannot be read.") from None
    check_choices(found)
    return found


async def _read_one(message: type[Message], contents: AsyncIterator[bytes]) -> Message:
    """
    Parse the only message of a call.

    Raises:
        Invalid: There is none, it is not complete in time, or it cannot be parsed.
    """
    try:
        content = await asyncio.wait_for(anext(aiter(contents)), _LONGEST_READ)
    except StopAsyncIteration:
        raise Invalid("The call has no message.") from None
    except asyncio.TimeoutError:
        # It would keep a place among the calls that run at once.
        raise Invalid(f"No message has come within {_LONGEST_READ:g} s.") from None
    return _read(message, content)


async def _read_all(
    message: type[Message], contents: AsyncIterator[bytes]
) -> AsyncIterator[Message]:
    """
    Return the messages of a call, each of which is parsed when it is taken.
    """

    async def messages() -> AsyncIterator[Message]:
        async for content in contents:
            yield _read(message, content)

    return messages()


def _write(message: Message) -> bytes:
    content: bytes = message.SerializeToString()
    return content
