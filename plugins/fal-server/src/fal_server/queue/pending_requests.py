"""
Pending requests: queued requests without a response, as this process tracks them.
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
    A queued request that has no response yet.

    Attributes:
        since: When it was accepted, in seconds of the monotonic clock.

        task: The task that has runners answer it.

        runner: The runner that has it. None while it waits for one.

        cancelled: Whether it was cancelled, and is not retried.

        attempted_at: When the last attempt started, in seconds of the monotonic clock.
            None before the first one.

        failures: The number of failed attempts in this process, by condition.
    """

    request: QueuedRequest
    since: float = attrs.field(factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    runner: Runner | None = None
    cancelled: bool = False
    attempted_at: float | None = None
    failures: dict[Condition, int] = attrs.field(factory=dict)

    @classmethod
    def restore(cls, request: QueuedRequest) -> PendingRequest:
        """
        Return a request that an earlier process accepted. How long it has waited is only
        known from the wall clock.
        """
        return cls(request, time.monotonic() - max(0.0, time.time() - request.submitted_at))

    @property
    def headers(self) -> CIMultiDict[str]:
        """
        The headers of the request.
        """
        return CIMultiDict(self.request.headers)

    @property
    def wants_one_attempt(self) -> bool:
        """
        Whether its sender has asked for a single attempt.
        """
        return is_set(self.headers.get(NO_RETRY, ""))

    def may_retry(self, application: Application, failed: Condition | bool) -> bool:
        """
        Count a failed attempt, and return whether to retry the request.

        Arguments:
            failed: The condition in which the attempt failed, or whether its response asks
                for a retry.
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
