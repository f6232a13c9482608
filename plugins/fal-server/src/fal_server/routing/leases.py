"""
Leases: one place of a runner for one request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs

from fal_server.access.callers import Caller
from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.routing.headers import Headers, start_timeout
from fal_server.routing.refusals import ApplicationUnreadable, StartTimeout
from fal_server.specs.request_retries import ends_runner

RUNNER_HINT = "x-fal-runner-hint"


@attrs.define(eq=False)
class Lease:
    """
    A place of a runner, within a context.
    """

    _application: Application
    _headers: Mapping[str, str]
    _request_id: str
    _caller: Caller | None
    _priority: int
    _since: float | None
    _runner: Runner | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Runner:
        """
        Wait for a runner with room.

        Raises:
            StartTimeout: No runner had room in time.

            NoRunner: None comes up, or none can.
        """
        application, caller = self._application, self._caller
        timeout = start_timeout(self._headers)
        if timeout is None and caller is not None and caller.user_id == application.owner:
            timeout = application.scaling.request_start_timeout
        if timeout is not None and self._since is not None:
            timeout -= time.monotonic() - self._since
            if timeout <= 0:
                raise StartTimeout("No runner could take the request in time.")
        if application.broken:
            raise ApplicationUnreadable(application.broken)
        hint = self._headers.get(RUNNER_HINT, "")
        runner = self._runner = await application.pool.acquire(
            priority=self._priority, hint=hint, timeout=timeout
        )
        lease = (time.time(), caller.user_id if caller is not None else "")
        runner.requests[self._request_id] = lease
        return runner

    async def __aexit__(self, *_: object) -> None:
        runner = self._runner
        assert runner is not None
        runner.requests.pop(self._request_id, None)
        # The pool it came from may have been replaced meanwhile.
        runner.release()


def settle_runner(runner: Runner, status: int, headers: Headers) -> None:
    """
    Have a runner take no more requests, and end, where its answer says that it is broken.
    """
    if ends_runner(status, headers):
        runner.drain()
