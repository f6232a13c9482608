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
import re
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from importlib.metadata import version
from typing import Any

import attrs
import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from isolate_proto.controller_pb2 import DESCRIPTOR

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.access.permissions import PROCEDURES
from fal_server.errors import Invalid, Refusal, Unanswered, Unauthenticated, level_of
from fal_server.grpc.messages import check_choices
from fal_server.listeners.grpc_calls import GrpcCall
from fal_server.listeners.grpc_encodings import CallFailed
from fal_server.telemetry.server_metrics import ServerMetrics
from fal_server_agent.messages import TRACE_VARIABLES

logger = logging.getLogger(__name__)

#: The metadata key by which clients know a server of fal-core.
ANNOUNCEMENT = "fal-core-server"

#: The metadata key by which the server knows a client of fal-core.
CORE_CLIENT = "fal-core-client"

#: How many refused keys are told of in so many seconds.
_MOST_TOLD, _INTERVAL = 10, 60.0

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

    Nothing of a message is read before its sender is authenticated.
    """

    def __init__(
        self, identity: CallerIdentity, metrics: ServerMetrics, *answering: object
    ) -> None:
        self._identity = identity
        self._metrics = metrics
        self._greeting = ((ANNOUNCEMENT, version("fal-server")),)
        self._told, self._told_since = 0, 0.0
        self._methods = {
            f"/{SERVICE.full_name}/{method.name}": _Method.find(method, answering)
            for method in SERVICE.methods
        }

    async def answer(self, call: GrpcCall) -> AsyncGenerator[bytes, None]:
        """
        Yield the messages that answer a call.

        Raises:
            CallFailed: It is refused, or fails.
        """
        method = self._methods.get(call.method)
        if method is None:
            raise refuse_method(call.method)
        try:
            caller = await self._admit(method.name, call)
            if method.answer is None:
                raise Unanswered(method.name)
            request = await method.read(call)
            if not method.is_stream:
                yield _write(await method.answer(request, caller))
            else:
                with self._metrics.streams.track_inprogress():
                    async with (
                        self._identity.revocations.hold(caller),
                        contextlib.aclosing(method.answer(request, caller)) as messages,
                    ):
                        async for message in messages:
                            yield _write(message)
            self._count(method.name, grpc.StatusCode.OK)
        except CallFailed as failure:
            # Its message cannot be read.
            self._count(method.name, failure.status)
            raise
        except Exception as error:
            raise self._refuse(method.name, error) from error

    async def _admit(self, name: str, call: GrpcCall) -> Caller:
        """
        Authenticate the caller of a method, and check the permission.

        Raises:
            Refusal: The caller is not authenticated, or lacks the permission.
        """
        call.greet(self._greeting)
        headers = call.texts
        caller = await self._identity.authenticate(headers)
        call.recognise()
        caller.require(PROCEDURES[name])
        return attrs.evolve(
            caller,
            trace=trace_of(headers),
            is_core=CORE_CLIENT in headers,
            server_host=call.server_host,
        )

    def _refuse(self, name: str, error: Exception) -> CallFailed:
        """Return what ends a call with the status of *error*."""
        if isinstance(error, Refusal):
            level = self._level_of(error)
            logger.log(level, "%s refused: %s: %s", name, type(error).__name__, error)
            status, sentence = grpc.StatusCode[error.status], str(error)
        else:
            logger.error("%s failed", name, exc_info=error)
            status, sentence = grpc.StatusCode.INTERNAL, "An internal error occurred."
        self._count(name, status)
        # By it a replica knows an answer from a connection that was lost.
        return CallFailed(status, sentence, self._greeting)

    def _level_of(self, refusal: Refusal) -> int:
        """Return the level at which a refusal is logged. Strangers do not fill the log."""
        if not isinstance(refusal, Unauthenticated):
            return level_of(refusal)
        now = time.monotonic()
        if not self._told or now - self._told_since > _INTERVAL:
            self._told, self._told_since = 0, now
        self._told += 1
        if self._told == _MOST_TOLD:
            logger.warning(
                "Calls without a valid key are refused: more are not logged for a minute."
            )
        return level_of(refusal) if self._told < _MOST_TOLD else logging.INFO

    def _count(self, name: str, status: grpc.StatusCode) -> None:
        self._metrics.procedures.labels(name, status.name).inc()
        if status is grpc.StatusCode.UNAUTHENTICATED:
            self._metrics.refused_keys.inc()


@attrs.frozen
class _Method:
    """
    A method of the protocol.

    Attributes:
        answer: Answers it. None where no object does.

        read: Reads the message, or the messages, of a call.
    """

    name: str
    answer: Callable[[Any, Caller], Any] | None
    read: Callable[[AsyncIterator[bytes]], Awaitable[Any]]
    is_stream: bool

    @classmethod
    def find(cls, method: MethodDescriptor, answering: Iterable[object]) -> _Method:
        """Find what answers a method."""
        name, message = method.name, GetMessageClass(method.input_type)
        found = [getattr(each, name) for each in answering if hasattr(each, name)]
        read = functools.partial(_read_all if method.client_streaming else _read_one, message)
        return cls(name, found[0] if found else None, read, method.server_streaming)


def refuse_method(method: str) -> CallFailed:
    """
    Return what ends a call of a method that is not in the protocol, as of another service or
    a newer client. Nothing of its messages is read.
    """
    refusal = Unanswered(f"the procedure {method[:200]}")
    return CallFailed(grpc.StatusCode[refusal.status], str(refusal))


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
    """Return the messages of a call, each of which is parsed when it is taken."""

    async def messages() -> AsyncIterator[Message]:
        async for content in contents:
            yield _read(message, content)

    return messages()


def _write(message: Message) -> bytes:
    content: bytes = message.SerializeToString()
    return content


# The names of the variables are those of OpenTelemetry.

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

#: Released clients send the ids of their span, as decimal numbers, under these keys.
_TRACE_ID, _PARENT_ID = "x-datadog-trace-id", "x-datadog-parent-id"

#: The longest value that is passed on, in characters.
_LONGEST = 8192


def trace_of(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """
    Return the environment variables for the trace in *metadata*. Empty where there is no
    valid one.
    """
    if not _TRACEPARENT.fullmatch(metadata.get("traceparent", "")):
        numbers = metadata.get(_TRACE_ID, ""), metadata.get(_PARENT_ID, "")
        return _from_numbers(*numbers)
    return {
        name: metadata[name.lower()]
        for name in TRACE_VARIABLES
        if 0 < len(metadata.get(name.lower(), "")) <= _LONGEST
    }


def _from_numbers(trace: str, parent: str) -> Mapping[str, str]:
    if not all(
        each.isascii() and each.isdigit() and len(each) <= 20 for each in (trace, parent)
    ):
        return {}
    ids = int(trace) % 2**64, int(parent) % 2**64
    if not all(ids):
        return {}
    return {"TRACEPARENT": f"00-{ids[0]:032x}-{ids[1]:016x}-01"}
