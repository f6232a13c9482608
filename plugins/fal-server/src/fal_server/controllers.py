"""
The gRPC service: who may call which procedure, and how it is refused.

The procedures themselves are methods of other objects, by their names on the wire. A
procedure that nobody answers is UNIMPLEMENTED.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
from isolate_proto.controller_pb2_grpc import IsolateControllerServicer

from fal_server.callers import Caller
from fal_server.errors import Refusal, Unanswered
from fal_server.identities import Identity
from fal_server.metrics import Metrics
from fal_server.permissions import PROCEDURES

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

#: What a server of ours says of itself to every caller, before anything else.
ANNOUNCEMENT = "fal-core-server"

#: Procedures that answer with one message; the others with a stream.
_STREAMS = frozenset(
    {"Run", "InteractiveRun", "Map", "RegisterApplication", "BuildEnvironment", "ShellRunner"}
)


class Controller(IsolateControllerServicer):
    """
    The service, made of objects that answer procedures.

    A method of such an object takes the message and the :class:`Caller`: ``async def
    ListSecrets(self, request, caller)`` returns a message, ``async def Run(self,
    request, caller)`` is a generator of them. When the client cancels, or is gone, it
    is cancelled. It raises a :class:`Refusal` for what the caller is to be told;
    whatever else it raises is logged, and told as an internal error without its text.
    """

    def __init__(self, identity: Identity, metrics: Metrics, *answering: object) -> None:
        self._identity = identity
        self._metrics = metrics
        self._greeting = ((ANNOUNCEMENT, version("fal-server")),)
        for name in PROCEDURES:
            found = [getattr(each, name) for each in answering if hasattr(each, name)]
            answer = found[0] if found else None
            guard = self._stream if name in _STREAMS else self._answer
            setattr(self, name, guard(name, answer))

    def _answer(
        self, name: str, answer: Callable[[Any, Caller], Awaitable[Any]] | None
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            try:
                caller = await self._admit(name, context)
                if answer is None:
                    raise Unanswered(name)
                message = await answer(request, caller)
            except Exception as error:
                await self._refuse(name, context, error)
            else:
                self._count(name, grpc.StatusCode.OK)
                return message

        return guarded

    def _stream(
        self, name: str, answer: Callable[[Any, Caller], AsyncGenerator[Any, None]] | None
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                caller = await self._admit(name, context)
                if answer is None:
                    raise Unanswered(name)
                with self._metrics.streams.track_inprogress():
                    async with contextlib.aclosing(answer(request, caller)) as messages:
                        async for message in messages:
                            yield message
                self._count(name, grpc.StatusCode.OK)
            except Exception as error:
                await self._refuse(name, context, error)

        return guarded

    async def _admit(self, name: str, context: Context) -> Caller:
        """
        Return who calls, who may.

        Raises:
            Refusal: They may not.
        """
        await context.send_initial_metadata(self._greeting)
        headers = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        caller = await self._identity.authenticate(headers)
        caller.require(PROCEDURES[name])
        return caller

    async def _refuse(self, name: str, context: Context, error: Exception) -> None:
        """
        End the call with what *error* says, if it is for the caller.
        """
        if isinstance(error, Refusal):
            logger.info("%s refused: %s: %s", name, type(error).__name__, error)
            status, sentence = error.status, str(error)
        else:
            logger.error("%s failed", name, exc_info=error)
            status, sentence = grpc.StatusCode.INTERNAL, "An internal error occurred."
        self._count(name, status)
        await context.abort(status, sentence)

    def _count(self, name: str, status: grpc.StatusCode) -> None:
        self._metrics.procedures.labels(name, status.name).inc()
        if status is grpc.StatusCode.UNAUTHENTICATED:
            self._metrics.refused_keys.inc()
