"""Open runners: machines where local users reach the ports of applications."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from isolate_proto import HostedRun, SetAliasRequest
from isolate_proto import controller_pb2 as wire
from planes import Plane
from served import ServedPlane, fill, make_application

from fal_core_worker.serving import networks

CLASS = """
    from fal_serve import App, endpoint


    class Served(App, keep_alive=300, max_concurrency=1):
        @endpoint("/")
        def look(self) -> str:
            return "found"
"""


@pytest.fixture
def place(tmp_path: Any, without_networks: None, programs: Any, request: Any) -> Iterator[Any]:
    """A server on a machine without network namespaces."""
    allows = getattr(request, "param", False)
    (tmp_path / "files").mkdir()
    standing = ServedPlane(
        tmp_path / "files", lambda: Plane(tmp_path / "data", allow_open_runners=allows)
    )
    yield standing
    standing.plane.close()
    programs.end_runners(tmp_path / "data")


def ask(place: Any, name: str, key: str | None = None) -> Any:
    with place.client("run", key=key) as client:
        return client.post(f"/owner/{name}", json={"name": "it"})


def refusal_of(work: Any) -> str:
    """Return the sentence with which *work* is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        work()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    return str(caught.value.details())


def test_application_that_local_users_would_reach_is_refused(place):
    """
    An application with a port is not deployed, run or made private; the refusal says what
    to do. A public one is served, and whoever deploys it is told.
    """
    for mode in (wire.PRIVATE, wire.SHARED):
        told = refusal_of(lambda mode=mode: place.deploy("closed", auth_mode=mode))
        assert "Every local user reaches the port of 'closed'" in told
        assert "pasta" in told
        assert "'--allow-open-runners'" in told
    request = place.registration("public", wire.PUBLIC)
    lines, revision = [], ""
    for message in place.plane.stream("RegisterApplication", request):
        lines += [log.message for log in message.logs]
        revision = message.result.application_id or revision
    assert any("Every local user reaches the port of 'public'" in each for each in lines)
    assert ask(place, "public", key="").status_code == 200

    alias = SetAliasRequest(alias="public", revision=revision, auth_mode=wire.PRIVATE)
    assert "'--allow-open-runners'" in refusal_of(lambda: place.plane.call("SetAlias", alias))
    run = HostedRun(application_name="run", auth_mode=wire.PRIVATE)
    fill(run, make_application(str(place.folder)))
    run.machine_requirements.exposed_port = 8080
    assert "'--allow-open-runners'" in refusal_of(lambda: [*place.plane.stream("Run", run)])


def test_application_without_a_port_is_served_in_private(place):
    """An application of fal_serve listens on a socket, and needs no network of its own."""
    pytest.importorskip("fal_host_serverless")
    pytest.importorskip("fal_serve")
    output = place.deploy_class("ours", CLASS)
    assert "Every local user" not in output
    assert ask(place, "ours").json() == "found"
    assert ask(place, "ours", key="").status_code == 401


@pytest.mark.parametrize("place", [True], indirect=True)
def test_private_application_that_is_no_longer_allowed(place):
    """A server that allowed open runners and allows them no more starts none, and says why."""
    place.deploy("one")
    assert ask(place, "one").status_code == 200
    (runner,) = place.plane.here(lambda: place.plane.plane.catalog.find("owner", "one").runners)
    place.plane.here(runner.kill)
    place.settle(lambda: not runner.is_alive)
    place._start = lambda: Plane(place.plane.settings.data, allow_open_runners=False)
    place.restart()
    answer = ask(place, "one")
    assert answer.status_code == 503
    assert "'--allow-open-runners'" in answer.json()["detail"]


@pytest.mark.skipif(networks.missing() != "", reason="there are no network namespaces")
def test_network_that_cannot_be_connected(tmp_path, programs, monkeypatch):
    """
    An application whose network cannot be made or connected does not run in that of the
    machine: it does not start, and whoever deploys it is told why.
    """
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "pasta").write_text("#!/bin/sh\necho 'no way out' >&2\nexit 1\n")
    (folder / "pasta").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    place = ServedPlane(tmp_path, lambda: Plane(tmp_path / "data"))
    try:
        request = place.registration("cut-off")
        lines: list[str] = []

        def deploy() -> None:
            for message in place.plane.stream("RegisterApplication", request):
                lines.extend(log.message for log in message.logs)

        with pytest.raises(grpc.RpcError, match="'cut-off' could not be started"):
            deploy()
        assert "no way out" in lines
        assert "A network namespace was made, and pasta does not connect it." in lines
    finally:
        place.plane.close()
        programs.end_runners(tmp_path / "data")
