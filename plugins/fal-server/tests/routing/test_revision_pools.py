"""Revision pools: the runners that a later server finds again, and those that it does not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from bare_runners import make_runner
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_core.events import Exited
from fal_server.errors import NotFound
from fal_server.fleet.http_client import HttpClient
from fal_server.routing.refusals import NoRunner
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.specs.scaling import Scaling
from fal_server.store.revisions import Revision
from fal_server.store.runner_records import RunnerRecord


def record(id: str, account: str, revision: str) -> RunnerRecord:
    return RunnerRecord(
        id=id,
        account_id=account,
        alias="app",
        revision=revision,
        token="token",
        reference=f"runner-{id}",
        machine_type="S",
        started_at=1.0,
    )


@pytest.mark.parametrize("belongs", [True, False])
def test_runner_that_is_gone_is_recorded_as_ended(plane, account, belongs):
    """
    A recorded runner that its host does not know any more is recorded as ended, also if its
    revision was removed, and gets no place in a pool.
    """
    pools, lost = plane.plane.catalog.fleet, record(f"gone-{belongs}", account, "removed")

    async def main() -> None:
        await pools.records.add(lost)
        pool = make_closed_pool() if belongs else None
        began = time.time()
        await pools.attach(lost, pool)
        times = await pools.records.times(account, lost.id)
        assert times.ended_at is not None
        assert began <= times.ended_at <= time.time()
        assert pool is None or pool.runners == []

    plane.run(main())


def test_runner_that_ends_after_the_server_leaves_no_task(make_plane):
    """
    A runner whose end is reported when the server has closed is recorded by the next one:
    this one begins nothing any more.
    """
    held = make_plane()
    fleet = held.plane.catalog.fleet

    async def main() -> None:
        async with contextlib.aclosing(HttpClient()) as exchanges:
            changed = fleet._recording_end(make_closed_pool().changed)
            runner = make_runner(held, exchanges, changed=changed)
            await held.plane.close()
            runner._events(Exited())
            assert runner.ended.is_set()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    held.run(main())


def test_spec_of_a_revision(plane, account):
    """
    What runners of a revision run is read from its registration, under the alias that leads
    to it and without the function, with what its client named the server; a revision that was
    removed is not found.
    """
    request = RegisterApplicationRequest(application_name="app")
    request.environments.add(kind="virtualenv")
    request.function.definition = b"large"
    request.machine_requirements.exposed_port = 8080
    revision = Revision(
        id="kept",
        account_id=account,
        alias="app",
        stage="main",
        scaling=Scaling(),
        created_at=1.0,
        server_host="fal.example.com:8443",
    )
    pools = plane.plane.catalog.fleet

    async def main() -> Any:
        await pools.revisions.add(revision, request, wire.PRIVATE)
        spec = await pools.spec_of("kept", account, "other")
        assert (spec.name, spec.application, spec.owner) == ("app", "other", account)
        assert (spec.port, spec.definition) == (8080, b"")
        assert spec.server_host == "fal.example.com:8443"
        with pytest.raises(NotFound):
            await pools.spec_of("removed", account, "app")

    plane.run(main())


def test_closed_pool_takes_no_requests(plane):
    """The pool of an application that cannot be read refuses requests at once."""

    async def main() -> None:
        pool = make_closed_pool()
        pool.adjust()
        with pytest.raises(NoRunner, match="replaced or removed"):
            await pool.acquire()
        assert pool.runners == []

    plane.run(main())
