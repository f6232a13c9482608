"""The routes for applications, queues and runners, with an implementation in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from aiohttp.test_utils import TestClient, TestServer

from fal_server.access.callers import Caller
from fal_server.access.permissions import PRESETS
from fal_server.errors import NotFound
from fal_server.http.account_routes import ApplicationRoutes, RunnerRoutes
from fal_server.http.api import make_application
from fal_server.plane import ControlPlane
from fal_server.queue.request_queues import QueueSize
from fal_server.settings import ServerSettings
from fal_server.store.keys import make_key
from fal_server.store.runner_records import RunnerTimes
from fal_server.telemetry.server_metrics import ServerMetrics


@attrs.define
class InMemoryPlane:
    """An application, a queue and a runner in memory."""

    waiting: dict[str, int] = attrs.field(factory=dict)

    async def metadata(self, caller: Caller, owner: str, alias: str) -> Mapping[str, Any]:
        self._check(caller, owner, alias)
        return {"openapi": {"paths": {}}}

    async def size(self, caller: Caller, owner: str, alias: str) -> QueueSize:
        self._check(caller, owner, alias)
        return QueueSize(size=sum(self.waiting.values()), by_caller=dict(self.waiting))

    async def flush(self, caller: Caller, owner: str, alias: str, *, sender: str | None) -> int:
        self._check(caller, owner, alias)
        dropped = [name for name in self.waiting if sender in {None, name}]
        return sum(self.waiting.pop(name) for name in dropped)

    async def times(self, caller: Caller, runner_id: str) -> RunnerTimes:
        if runner_id != "r1":
            raise NotFound(f"Runner {runner_id!r} was not found.")
        return RunnerTimes(started_at=1_700_000_000.0, ended_at=None)

    def _check(self, caller: Caller, owner: str, alias: str) -> None:
        if (owner, alias) != (caller.nickname, "app"):
            raise NotFound(f"Application {owner}/{alias} was not found.")


@pytest.fixture
def ask(tmp_path):
    """Send requests to the routes, with a key that has the permissions of a preset."""

    async def asking(requests: list[tuple[str, str]], preset: str) -> list[tuple[int, Any]]:
        plane = ControlPlane.create(ServerSettings(data=tmp_path / "data"))
        memory: Any = InMemoryPlane({"ann": 2, "bob": 1})
        routes = [
            *ApplicationRoutes(memory, memory).routes(),
            *RunnerRoutes(memory).routes(),
        ]
        application = make_application(plane.identity, ServerMetrics(), routes)
        caller = await plane.identity.authenticate(to_headers(plane.directory.read_key()))
        key = await plane.database.write(
            lambda connection: make_key(connection, caller.user_id, PRESETS[preset])
        )
        found = []
        async with TestClient(TestServer(application)) as client:
            for method, path in requests:
                headers = to_headers(key.text)
                async with client.request(method, path, headers=headers) as answer:
                    found.append((answer.status, await answer.json()))
        plane.database.close()
        return found

    def ask(*requests: tuple[str, str], preset: str = "FULL") -> list[tuple[int, Any]]:
        return asyncio.run(asking(list(requests), preset))

    return ask


def to_headers(key: str) -> dict[str, str]:
    return {"authorization": f"Key {key}"}


def test_queue_is_measured_and_flushed(ask):
    """
    The size of a queue can be read, in total and by sender, and its requests can be dropped,
    all or those of one sender.
    """
    path = "/applications/owner/app/queue"
    sizes = ask(
        ("GET", path),
        ("GET", f"{path}?by_user=true"),
        ("DELETE", f"{path}?caller_user_id=bob"),
        ("GET", path),
        ("DELETE", path),
        ("GET", path),
    )
    assert sizes == [
        (200, {"size": 3, "queue_size": 3}),
        (200, {"size": 3, "queue_size": 3, "by_user": {"ann": 2, "bob": 1}}),
        (200, {"flushed": 1}),
        (200, {"size": 2, "queue_size": 2}),
        (200, {"flushed": 2}),
        (200, {"size": 0, "queue_size": 0}),
    ]


def test_metadata_and_times_of_runners(ask):
    """
    The metadata of an application is returned as it was registered, and the times of a
    runner are in ISO 8601.
    """
    assert ask(("GET", "/applications/owner/app/metadata"), ("GET", "/runners/r1")) == [
        (200, {"openapi": {"paths": {}}}),
        (200, {"started_at": "2023-11-14T22:13:20.000000+00:00", "ended_at": None}),
    ]


def test_unknown_applications_and_runners(ask):
    """Applications of others and unknown runners are 404, with a message."""
    for status, content in ask(
        ("GET", "/applications/other/app/metadata"),
        ("GET", "/applications/owner/none/queue"),
        ("DELETE", "/applications/other/app/queue"),
        ("GET", "/runners/r2"),
    ):
        assert status == 404
        assert "not found" in content["detail"]


def test_key_for_requests_cannot_manage_queues(ask):
    """A key that may only send requests can neither read nor flush a queue."""
    answers = ask(
        ("GET", "/applications/owner/app/queue"),
        ("DELETE", "/applications/owner/app/queue"),
        ("GET", "/runners/r1"),
        preset="API",
    )
    assert [status for status, _ in answers] == [403, 403, 403]
    assert all("Insufficient permissions" in content["detail"] for _, content in answers)
