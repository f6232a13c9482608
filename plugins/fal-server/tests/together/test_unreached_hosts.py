"""Runners that wait for a host which cannot be reached: who is told, and what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar

import attrs
import browsers
import grpc
import pytest
from isolate_proto import ListRunnersRequest, RunnerInfo
from isolate_proto import controller_pb2 as wire
from playwright.sync_api import expect

from fal_core.capacities import Capacity, CountingHost, NodeCapacity
from fal_core.errors import HostError
from fal_core.hooks import hookimpl
from fal_core.plugins import registered
from fal_host_local import LocalHost

SECRET = "No route to 10.1.2.3"
WAITS = "It waits for host away, which cannot be reached now."


@attrs.define(eq=False, slots=False)
class Away(LocalHost, CountingHost):
    """A host that cannot be asked what it has, until it is there."""

    name: ClassVar[str] = "away"
    is_there: ClassVar[bool] = False

    def read_capacity(self) -> Capacity:
        if not self.is_there:
            raise HostError(SECRET)
        return Capacity(nodes=(NodeCapacity(cpus=8.0, memory=1 << 40, gpus=0),))


@pytest.fixture(scope="module")
def waiting(
    tmp_path_factory: pytest.TempPathFactory, planes: Any, served: Any, programs: Any
) -> Iterator[Any]:
    """A server whose only host is away, and an application on it."""
    root = tmp_path_factory.mktemp("waiting")
    (root / "folder").mkdir()
    plugin: Any = ModuleType("a-host-that-is-away")
    plugin.fal_core_api = 1
    plugin.fal_register_hosts = hookimpl(lambda: [Away])
    with registered(plugin):
        made = served.ServedPlane(
            root / "folder", lambda: planes.Plane(root / "data", machines=("away",))
        )
        made.deploy("app", attach=False)
        yield made
        made.plane.close()
        programs.end_runners(root / "data", machines=("away",))


def test_stranger_is_not_told_the_name_of_a_host(waiting: Any):
    """
    A sender whose request no runner took in time is told that it waits for a host, and not
    for which.
    """
    waiting.deploy("open", auth_mode=wire.PUBLIC, attach=False)
    headers = {"x-fal-request-timeout": "1.5"}
    with waiting.client("run", key="") as client:
        answer = client.post("/owner/open", json={}, headers=headers)
    assert answer.status_code == 504
    assert answer.json()["detail"] == (
        "No runner could take the request in time. It waits for a host that cannot be reached "
        "now."
    )


def test_deployment_waits_no_longer_than_a_runner_may_take_to_start(waiting: Any):
    """It fails after its startup timeout, and says for what it has waited."""
    with pytest.raises(grpc.RpcError) as failed:
        waiting.deploy("late", startup_timeout=1)
    details = str(failed.value.details())
    assert (WAITS in details, SECRET in details) == (True, False)


def test_dashboard_shows_what_a_runner_waits_for(
    waiting: Any, browser: Any, find_faults: Callable[[Any], list[str]]
):
    """
    The runner is shown as pending and on no node, with what it waits for; so is its
    application.
    """
    origin = f"http://{waiting.plane.address}/"
    with browsers.opening_pages(browser, origin) as begin:
        page = begin(origin, viewport={"width": 360, "height": 740})
        page.get_by_label("Key", exact=True).fill(waiting.plane.key)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Runners").click()
        row = page.get_by_role("row").filter(
            has=page.get_by_role("link", name="app", exact=True)
        )
        expect(row.locator("td[data-name=Phase]")).to_have_text(f"pending{WAITS}")
        expect(row.locator("td[data-name=Node]")).to_have_text("\N{EN DASH}")
        assert find_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        row.get_by_role("link", name="app", exact=True).click()
        expect(page.locator(".notice.waits")).to_have_text(WAITS)
        assert find_faults(page) == []


def test_all_who_look_see_what_a_runner_waits_for(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    The runner is pending, and its list, the dashboard, its log and the status of a queued
    request say for which host it waits; nobody sees what the host says of its machine. It is
    launched once the host is there.
    """
    plane, id = waiting.plane, waiting.submit("app", {"name": "later"})
    pool = plane.plane.catalog.find("owner", "app").pool
    waiting.settle(lambda: pool.waits_for == WAITS)
    told = plane.call("ListRunners", ListRunnersRequest(list_pending=True)).runners
    (listed,) = (each for each in told if each.alias == "app")
    assert (listed.state, listed.external_metadata["waits_for"]) == (RunnerInfo.PENDING, WAITS)
    with plane.client() as client:
        assert client.get("/applications/metrics").json()["summary"] == {
            "total_gpu_by_type": {}
        }
        with client.stream("GET", "/dashboard/live") as live:
            line = next(live.iter_lines())
    shown = json.loads(line.partition(":")[2])
    assert shown["applications"]["app"]["reason"] == WAITS
    assert shown["runners"][listed.runner_id]["reason"] == WAITS
    with waiting.client() as client:
        status = client.get(f"/owner/app/requests/{id}/status", params={"logs": 1}).json()
    assert status["reason"] == WAITS
    assert WAITS in status["logs"][-1]["message"]
    waiting.settle(lambda: WAITS in waiting.lines("app"))
    assert SECRET not in f"{told}{line}{status}{waiting.lines('app')}"

    monkeypatch.setattr(Away, "is_there", True)
    assert waiting.finish("app", id).json()["told"] == {"name": "later"}
    assert pool.waits_for == ""
