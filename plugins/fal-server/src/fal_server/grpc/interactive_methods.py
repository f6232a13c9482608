"""The gRPC method that runs a function again and again, as its client changes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import attrs
from isolate_proto import HostedRun, HostedRunResult, InteractiveRunResponse

from fal_server.access.callers import Caller
from fal_server.errors import Invalid, Refusal
from fal_server.grpc.function_calls import make_run_id
from fal_server.grpc.run_methods import RunMethods
from fal_server.grpc.run_results import failed

#: Seconds within which a client sends the first run, and another one while none is left.
_LONGEST_BEGINNING, _LONGEST_PAUSE = 60.0, 3600.0


@attrs.define(eq=False)
class InteractiveMethods:
    """The method for runs that take the place of each other."""

    _runs: RunMethods

    async def InteractiveRun(
        self, requests: AsyncIterator[Any], caller: Caller
    ) -> AsyncGenerator[InteractiveRunResponse, None]:
        """
        Run each function that the client sends, in place of the one before it, which is ended.

        All of them are reached at one address, where they serve and have one name. When the
        client has sent its last run, the call ends with that, as a call that runs it alone
        would. One that fails earlier leaves the call as it is.
        """
        session = _Session(self._runs, caller)
        coming: asyncio.Future[Any] | None = asyncio.ensure_future(_next(requests))
        patience = _LONGEST_BEGINNING
        try:
            while coming or session.result:
                awaited = {each for each in (coming, session.result) if each}
                limit = None if session.result else patience
                done, _ = await asyncio.wait(
                    awaited, timeout=limit, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise Invalid(f"No run has come within {patience:g} s.")
                if session.result in done and (message := session.take()) is not None:
                    yield InteractiveRunResponse(hosted_run_result=message)
                if coming is not None and coming in done:
                    request, coming = coming.result(), None
                    if request is not None:
                        await session.replace(request.hosted_run)
                        coming, patience = (
                            asyncio.ensure_future(_next(requests)),
                            _LONGEST_PAUSE,
                        )
            if session.refusal is not None:
                raise session.refusal
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            await session.end()


@attrs.define(eq=False)
class _Session:
    """
    Runs that follow each other.

    Attributes:
        result: The next message of the present run. None where there is no run.

        refusal: Why the last run has no outcome. None where it has one, or goes on.
    """

    _runs: RunMethods
    _caller: Caller
    result: asyncio.Future[HostedRunResult | None] | None = attrs.field(
        default=None, init=False
    )
    refusal: Refusal | None = attrs.field(default=None, init=False)
    _id: str = attrs.field(factory=make_run_id, init=False)
    _messages: AsyncGenerator[HostedRunResult, None] | None = attrs.field(
        default=None, init=False
    )

    async def replace(self, request: HostedRun) -> None:
        """End the present run, and begin another one."""
        await self.end()
        self.refusal = None
        self._messages = self._runs.run(request, self._caller, self._id)
        self.result = asyncio.ensure_future(_next(self._messages))

    def take(self) -> HostedRunResult | None:
        """Take the next message of the run, which has come. None where the run has ended."""
        assert self.result is not None
        assert self._messages is not None
        result, self.result = self.result, None
        try:
            message = result.result()
        except Refusal as refusal:
            self.refusal = refusal
            return failed(str(refusal))
        if message is not None:
            self.result = asyncio.ensure_future(_next(self._messages))
        return message

    async def end(self) -> None:
        """End the present run, if there is one."""
        if self.result is not None:
            self.result.cancel()
            await asyncio.gather(self.result, return_exceptions=True)
            self.result = None
        if self._messages is not None:
            await self._messages.aclose()


async def _next(messages: AsyncIterator[Any]) -> Any:
    """Return the next message. None where there are no more."""
    return await anext(messages, None)
