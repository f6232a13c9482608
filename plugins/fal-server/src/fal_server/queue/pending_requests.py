"""Pending requests: queued requests without a response, as this process tracks them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
from multidict import CIMultiDict

from fal_server.fleet.runners import Runner
from fal_server.queue.queue_room import Slot
from fal_server.routing.applications import Application
from fal_server.specs.request_retries import MOST, NO_RETRY, RETRY_CONFIG, Condition, is_set
from fal_server.store.queued_requests import QueuedRequest

_NONE: Mapping[Condition, int] = MappingProxyType({})


@attrs.define(eq=False)
class PendingRequest:
    """
    A queued request that has no response yet. There may be very many, so that one which is
    not about to get a runner has little more than its id in memory.

    Attributes:
        place: The room that it takes in the queue.

        since: When it was accepted, in seconds of the monotonic clock.

        was_running: Whether a runner had it when an earlier server ended.

        is_active: Whether it competes for a runner, or has one.

        request: The request itself. None where it does not compete for a runner.

        task: The task that has runners answer it, once it was read.

        runner: The runner that has it. None while it waits for one.

        cancelled: Whether it was cancelled, and is not retried.

        attempted_at: When the last attempt started, in seconds of the monotonic clock.
            None before the first one.

        failures: The number of failed attempts in this process, by condition.
    """

    id: str
    number: int
    priority: int
    place: Slot
    since: float = attrs.field(factory=time.monotonic)
    was_running: bool = False
    is_active: bool = False
    request: QueuedRequest | None = None
    task: asyncio.Task[None] | None = None
    runner: Runner | None = None
    cancelled: bool = False
    attempted_at: float | None = None
    failures: Mapping[Condition, int] = attrs.field(default=_NONE)

    @classmethod
    def of(cls, request: QueuedRequest, place: Slot) -> PendingRequest:
        """Return a request that was accepted now."""
        return cls(request.id, request.number, request.priority, place, request=request)

    @classmethod
    def restore(cls, row: Any, place: Slot, now: float) -> PendingRequest:
        """
        Return a request that another process accepted, from its *row*. How long it has
        waited is only known from the time *now* by the clock of the state.
        """
        since = time.monotonic() - max(0.0, now - row.submitted_at)
        was_running = row.state == "running"
        return cls(row.id, row.number, row.priority, place, since, was_running)

    @property
    def loaded(self) -> QueuedRequest:
        """The request itself, which competes for a runner."""
        assert self.request is not None
        return self.request

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers of the request."""
        return CIMultiDict(self.loaded.headers)

    @property
    def wants_one_attempt(self) -> bool:
        """Whether its sender has asked for a single attempt."""
        return is_set(self.headers.get(NO_RETRY, ""))

    def may_retry(self, application: Application, failed: Condition | bool) -> bool:
        """
        Count a failed attempt, and return whether to retry the request.

        Arguments:
            failed: The condition in which the attempt failed, or whether its response asks
                for a retry.
        """
        request = self.loaded
        if isinstance(failed, str):
            self.failures = {**self.failures, failed: self.failures.get(failed, 0) + 1}
        if self.cancelled or self.wants_one_attempt or request.attempts >= MOST:
            return False
        if not isinstance(failed, str):
            return failed
        retries = application.retries
        if request.sender == application.owner:
            retries = retries.overridden(self.headers.get(RETRY_CONFIG, ""))
        return retries.may_retry(failed, self.failures[failed])
