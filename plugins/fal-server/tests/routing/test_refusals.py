"""Refusals: how a sender is told that there is no response from an application."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from bare_runners import make_runner
from raw_agents import Agent, listening

from fal_core.errors import WorkerLost
from fal_core.events import Exited
from fal_server.errors import Invalid, Refusal
from fal_server.fleet import disconnections, runners
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.http_upstreams import BrokenUpstream, UnreachedUpstream
from fal_server.fleet.states import RunnerPhase
from fal_server.routing.refusals import (
    NoRunner,
    RequestTimeout,
    RunnerBlocked,
    RunnerDisconnected,
    StartTimeout,
    describe_disconnection,
    describe_refusal,
)


@pytest.mark.parametrize(
    ("refusal", "status", "kind", "whose"),
    [
        (NoRunner("It failed."), 503, "runner_scheduling_failure", None),
        (RunnerBlocked("It failed."), 503, "runner_scheduling_failure", None),
        (StartTimeout("It failed."), 504, "startup_timeout", "user"),
        (RequestTimeout("It failed."), 504, "request_timeout", "infrastructure"),
        (RunnerDisconnected("It failed."), 503, "runner_disconnected", None),
        (Invalid("It failed."), 422, None, None),
    ],
)
def test_refusal_says_whose_limit_it_was(
    refusal: Refusal, status: int, kind: str | None, whose: str | None
):
    """
    The body and the headers name the reason by which clients know it, and a timeout says
    whether it was the sender's.
    """
    body, headers = describe_refusal(refusal)
    assert refusal.http == status
    assert body == {"detail": "It failed."} | ({"error_type": kind} if kind else {})
    expected = {"x-fal-error-type": kind, "x-fal-request-timeout-type": whose}
    assert headers == {name: value for name, value in expected.items() if value}


def test_disconnection_has_the_reason_of_the_host(plane):
    """A sender is told how the runner ended, as soon as its host has reported that."""

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(plane, exchanges)
            runner.become_ready()
            telling = asyncio.ensure_future(
                describe_disconnection(runner, BrokenUpstream("It was lost."))
            )
            runner.take(Exited(reason=WorkerLost(None, 9)))
            told = str(await telling)
            assert told.startswith("The runner broke off the request. ")
            assert "SIGKILL" in told
            assert runner._examining is None

    plane.run(main())


def test_runner_that_accepts_no_connection_is_examined(plane, monkeypatch):
    """A runner that accepted no connection is pinged, and ended if its agent does not respond."""
    monkeypatch.setattr(runners, "_SILENCE", 0.1)
    monkeypatch.setattr(disconnections, "_LAST_WORDS", 0.01)

    async def main() -> None:
        async with listening(Agent(never)) as (exchanges, url):
            runner = make_runner(plane, exchanges)
            runner.take_urls({"control": url})
            runner.become_ready()
            told = await describe_disconnection(runner, UnreachedUpstream("It is full."))
            assert str(told) == "The runner broke off the request. It no longer answered."
            assert runner.state is RunnerPhase.SICK

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1)

    plane.run(main())
