"""
Works: queued requests that are under way, as this process has them.
"""

from __future__ import annotations

import asyncio
import time

import attrs
from multidict import CIMultiDict

from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.specs.request_retries import MOST, NO_RETRY, RETRY_CONFIG, Condition, is_set
from fal_server.store.queued_requests import QueuedRequest


@attrs.define(eq=False)
class PendingRequest:
    """
    A request that is under way.

    Attributes:
        since: When the request was accepted, in seconds of the monotonic clock.

        begun: When a runner was given it, in seconds of the monotonic clock.

        failures: How often it has failed in this process, by the reason.
    """

    request: QueuedRequest
    since: float = attrs.field(factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    runner: Runner | None = None
    cancelled: bool = False
    begun: float | None = None
    failures: dict[Condition, int] = attrs.field(factory=dict)

    @classmethod
    def found_again(cls, request: QueuedRequest) -> PendingRequest:
        """
        Go on with a request that an earlier process has accepted, when the clock alone
        tells.
        """
        return cls(request, time.monotonic() - max(0.0, time.time() - request.submitted_at))

    @property
    def headers(self) -> CIMultiDict[str]:
        """
        What its sender has said.
        """
        return CIMultiDict(self.request.headers)

    @property
    def wants_one_attempt(self) -> bool:
        """
        Whether its sender has asked for one attempt alone.
        """
        return is_set(self.headers.get(NO_RETRY, ""))

    def may_be_begun_again(self, application: Application, failed: Condition | bool) -> bool:
        """
        Tell whether there is another attempt after one that *failed*, which is counted.
        """
        request = self.request
        if isinstance(failed, str):
            self.failures[failed] = self.failures.get(failed, 0) + 1
        if self.cancelled or self.wants_one_attempt or request.attempts >= MOST:
            return False
        if not isinstance(failed, str):
            return failed
        retries = application.retries
        if request.sender == application.owner:
            retries = retries.overridden(self.headers.get(RETRY_CONFIG, ""))
        return retries.may_retry(failed, self.failures[failed])
