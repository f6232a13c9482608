"""Laws of observers: plugins that watch calls change none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.errors import HostError
from fal_core.hooks import hookimpl
from fal_core.hosts import Host
from fal_core.plugins import registered
from fal_testing.harness.expectations import expect, expect_error, expect_no_error, result_of
from fal_testing.harness.marks import Isolated

LOOK = "Leave the observing hooks to the core, which calls them around launch."


class _FailingObserver:
    """A plugin all of whose observing hooks raise."""

    fal_core_api = 1

    @hookimpl
    def fal_call_started(self) -> None:
        raise LookupError("The observer failed as a call began.")

    @hookimpl
    def fal_call_finished(self) -> None:
        raise LookupError("The observer failed as a call ended.")

    @hookimpl
    def fal_host_failed(self) -> None:
        raise LookupError("The observer failed as a host failed.")


@pytest.fixture
def failing_observer() -> Iterator[None]:
    """A plugin all of whose observing hooks raise is installed."""
    with registered(_FailingObserver(), "law-failing-observer"):
        yield


@pytest.mark.usefixtures("failing_observer")
def test_an_observer_that_raises_changes_nothing(
    host: Host[..., Any], isolated: Isolated, law_timeout: float
) -> None:
    """
    Where the observing hooks of a plugin raise, calls, futures and maps have their results
    nevertheless, and errors arrive as themselves.
    """

    @isolated()
    def be_observed(number: int) -> int:
        if number < 0:
            raise ValueError("below zero")
        return number + 1

    with expect_no_error(LOOK):
        results = [
            be_observed(1),
            result_of(be_observed.submit(2), law_timeout),
            result_of(be_observed.spawn(3).future, law_timeout, "a spawned call"),
            *be_observed.map(range(4, 12)),
        ]
    expect(results, [*range(2, 13)], "The results of calls whose observers raise", LOOK)
    with expect_error(ValueError, LOOK, match="below zero"):
        be_observed(-1)
    if host.capabilities.crash:

        @isolated()
        def leave_while_observed() -> None:
            import os

            os._exit(3)

        with expect_error(HostError, LOOK):
            leave_while_observed()
