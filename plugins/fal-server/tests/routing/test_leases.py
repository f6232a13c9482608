"""Leases: a slot of a runner for one request, and how long it is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bare_runners import make_runner
from multidict import CIMultiDict

from fal_server.access.callers import Caller
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.fleet.states import RunnerPhase
from fal_server.routing.applications import Application
from fal_server.routing.leases import Lease, responding
from fal_server.routing.refusals import ApplicationUnreadable, StartTimeout
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.scaling import Scaling


@contextlib.asynccontextmanager
async def serving(
    plane: Any, *names: str, **scaling: Any
) -> AsyncIterator[tuple[Application, list[Runner]]]:
    """Yield an application that has runners with these *names*."""

    def launch(_: Any) -> Runner:
        raise AssertionError("The pool must not start another runner.")

    async with contextlib.aclosing(HttpClient()) as exchanges:
        settings = Scaling(max_concurrency=max(1, len(names)), keep_alive=300, **scaling)
        pool = RunnerPool(settings, launch)
        application = Application(
            owner="user|1",
            owner_name="owner",
            alias="app",
            auth_mode=0,
            pool=pool,
            scaling=settings,
        )
        for name in names:
            runner = make_runner(plane, exchanges, name=name, changed=pool.changed)
            pool.adopt(runner)
            runner.become_ready()
        yield application, list(pool.runners)
        pool.detach()


def lease(
    application: Application, *, caller: str = "", since: float | None = None, **headers: str
) -> Lease:
    """Return the lease of a request."""
    account = Caller(user_id=caller, nickname=caller, permissions=frozenset())
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return Lease(application, shown, "request", account if caller else None, 0, since)


def test_slot_is_given_back(plane):
    """
    A lease holds a slot while the request runs, notes whose it is, and gives it back also
    if the request fails.
    """

    async def main() -> None:
        async with serving(plane, "one") as (application, (runner,)):
            before = time.time()
            with contextlib.suppress(LookupError):
                async with lease(application, caller="user|2") as leased:
                    assert leased is runner
                    assert runner.in_flight == 1
                    began, sender = runner.requests["request"]
                    assert sender == "user|2"
                    assert before <= began <= time.time()
                    raise LookupError
            assert (runner.in_flight, runner.requests) == (0, {})

    plane.run(main())


def test_preferred_runner(plane):
    """A request gets the runner that it prefers, and any other if that has no slot."""

    async def main() -> None:
        async with (
            serving(plane, "one", "two") as (application, _),
            lease(application, x_fal_runner_hint="two") as first,
            lease(application, x_fal_runner_hint="two") as second,
        ):
            assert (first.id, second.id) == ("two", "one")

    plane.run(main())


@pytest.mark.parametrize(
    ("caller", "headers", "since"),
    [
        ("user|1", {}, 0.0),
        ("", {"x_fal_request_timeout": "0.01"}, None),
        ("user|2", {"x_fal_request_timeout": "3600"}, 7200.0),
    ],
    ids=["application", "sender", "earlier"],
)
def test_request_that_waits_too_long(plane, caller, headers, since):
    """
    A request of the owner waits as long as the application says, and others as long as
    their header says; what they have waited before counts.
    """
    since = None if since is None else time.monotonic() - since

    async def main() -> None:
        async with (
            serving(plane, "one", request_start_timeout=0.01) as (application, (runner,)),
            lease(application),
        ):
            with pytest.raises(StartTimeout):
                await lease(application, caller=caller, since=since, **headers).__aenter__()
            assert (runner.in_flight, application.pool.waiting) == (1, 0)

    plane.run(main())


def test_limit_of_an_application_is_for_its_owner(plane):
    """A request of somebody else waits longer than the application says, until there is a slot."""

    async def main() -> None:
        async with serving(plane, "one", request_start_timeout=0.01) as (
            application,
            (runner,),
        ):
            async with lease(application):
                other = lease(application, caller="user|2", since=time.monotonic() - 60)
                waiting = asyncio.ensure_future(other.__aenter__())
                # Let it wait for a slot.
                while not application.pool.waiting:
                    assert not waiting.done()
                    await asyncio.sleep(0)
            assert await waiting is runner
            await other.__aexit__()

    plane.run(main())


def test_application_that_cannot_be_read_has_no_slot(plane):
    """
    A request to an application that the server cannot read is refused; its owner gets the
    reason.
    """

    async def main() -> None:
        async with serving(plane, "one") as (application, (runner,)):
            application.broken = "The server cannot read it."
            for caller, told in (("user|1", "cannot read it"), ("user|2", "could not be read")):
                with pytest.raises(ApplicationUnreadable, match=told):
                    async with lease(application, caller=caller):
                        pass
            assert runner.in_flight == 0

    plane.run(main())


@pytest.mark.parametrize(
    ("status", "headers", "ends"),
    [
        (200, {}, False),
        (500, {}, False),
        (503, {}, True),
        (503, {"X-Fal-Stop-Runner": "no"}, False),
        (200, {"X-Fal-Stop-Runner": "yes"}, True),
    ],
)
def test_response_that_ends_its_runner(plane, status, headers, ends):
    """
    A runner takes no other requests while it responds with 503, and is drained after that,
    also where the response breaks off, unless the response decides that otherwise.
    """

    async def main() -> None:
        async with serving(plane, "one") as (_, (runner,)):
            with (
                contextlib.suppress(LookupError),
                responding(runner, status, CIMultiDict(headers)),
            ):
                assert (runner.state is RunnerPhase.RETIRED) is ends
                assert runner.label == ("draining" if ends else "idle")
                raise LookupError
            assert (runner.state is RunnerPhase.DRAINING) is ends

    plane.run(main())
