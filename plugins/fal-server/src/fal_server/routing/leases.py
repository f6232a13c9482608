"""Leases: a slot of a runner for one request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import attrs

from fal_server.access.callers import Caller
from fal_server.fleet.runners import Runner
from fal_server.fleet.states import RunnerPhase
from fal_server.routing.applications import Application
from fal_server.routing.headers import Headers, start_timeout
from fal_server.routing.refusals import (
    ApplicationUnreadable,
    RunnerGone,
    StartFailed,
    StartTimeout,
)
from fal_server.routing.waiting_room import WaitingRoom
from fal_server.specs.request_retries import ends_runner

T = TypeVar("T")

RUNNER_HINT = "x-fal-runner-hint"

#: The context of a response after which its runner goes on.
_GOES_ON: AbstractContextManager[None] = nullcontext()


@attrs.define(eq=False)
class Lease:
    """A slot of a runner, taken on entering the context and given back on leaving it."""

    _application: Application
    _headers: Mapping[str, str]
    _request_id: str
    _caller: Caller | None
    _priority: int
    _since: float | None
    _room: WaitingRoom | None = None
    _size: int = 0
    _runner: Runner | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Runner:
        """
        Wait for a free slot, and return its runner.

        Raises:
            StartTimeout: No runner had a free slot in time.

            NoRunner: No runner could be started, or the application cannot have any.

            WaitingRoomFull: No slot is free, and too many requests wait already.
        """
        application, caller = self._application, self._caller
        timeout = start_timeout(self._headers)
        if timeout is None and self._is_of_owner:
            timeout = application.scaling.request_start_timeout
        if timeout is not None and self._since is not None:
            timeout -= time.monotonic() - self._since
            if timeout <= 0:
                raise StartTimeout("No runner could take the request in time.")
        if application.broken:
            raise ApplicationUnreadable(
                application.broken
                if self._is_of_owner
                else "The application could not be read."
            )
        hint = self._headers.get(RUNNER_HINT, "")
        try:
            runner = application.pool.take_free(hint)
            if runner is None:
                runner = await self._wait(hint, timeout)
            self._runner = runner
        except StartFailed as refusal:
            if self._is_of_owner:
                raise
            raise StartFailed("The application could not be started.") from refusal.__cause__
        lease = (time.time(), caller.user_id if caller is not None else "")
        runner.requests[self._request_id] = lease
        return runner

    async def _wait(self, hint: str, timeout: float | None) -> Runner:
        application, caller, room = self._application, self._caller, self._room
        name = (application.owner_name, application.alias)
        account = "" if caller is None else caller.user_id
        entered = nullcontext() if room is None else room.enter(name, account, self._size)
        with entered:
            return await application.pool.acquire(
                priority=self._priority, hint=hint, timeout=timeout, is_queued=room is None
            )

    async def __aexit__(self, *_: object) -> None:
        runner = self._runner
        assert runner is not None
        runner.requests.pop(self._request_id, None)
        # The runner knows its pool, which may have been replaced meanwhile.
        runner.release()

    @property
    def _is_of_owner(self) -> bool:
        return self._caller is not None and self._caller.user_id == self._application.owner


async def hand_over(lease: Callable[[], Lease], work: Callable[[Runner], Awaitable[T]]) -> T:
    """
    Give a request to a runner, and to another one if the first had ended before it got it.

    Arguments:
        lease: Returns the lease of a slot.

        work: Sends the request to a runner.
    """
    try:
        async with lease() as runner:
            return await work(runner)
    except RunnerGone:
        async with lease() as runner:
            return await work(runner)


def responding(runner: Runner, status: int, headers: Headers) -> AbstractContextManager[None]:
    """
    Return a context for the rest of a response, whose head has come. If the response asks for
    the end of its runner, or has status 503, the runner takes no other requests from now on,
    and is drained after the response: its grace period may be shorter than that takes.
    """
    return _retiring(runner) if ends_runner(status, headers) else _GOES_ON


@contextmanager
def _retiring(runner: Runner) -> Iterator[None]:
    runner.lifecycle.enter(RunnerPhase.RETIRED)
    try:
        yield
    finally:
        runner.drain(is_replaced=True)
