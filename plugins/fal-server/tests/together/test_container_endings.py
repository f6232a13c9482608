"""Containers of runners whose server or supervisor was killed, and servers of few kinds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import cloudpickle
import grpc
import pytest
from engines import BASE
from isolate_proto import BuildEnvironmentRequest, HostedRun

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def boxes(
    engine: Any, make_standing: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A server that runs containers alone."""
    return make_standing(tmp_path_factory.mktemp("boxes"), "--kind", "container")


def in_a_container(request: Any) -> None:
    """Have *request* ask for a container in place of a virtual environment."""
    (environment,) = request.environments
    environment.kind = "container"
    environment.configuration["image"] = {"dockerfile_str": f"FROM {BASE}\nRUN true\n"}


def hang() -> None:
    import time

    open("/data/hangs", "w").close()
    # Ends with its container.
    time.sleep(600)


def test_functions_of_a_server_that_was_killed(boxes: Any, engine: Any, served: Any):
    """
    No container of a function outlives its server. An application is served again, by the
    runner that it has.
    """
    boxes.deploy("kept", function=served.make_application("/tmp"), change=in_a_container)
    before = ask(boxes, "kept")
    kept = engine.containers()
    assert len(kept) == 1
    request = HostedRun(application_name="hang")
    served.fill(request, hang)
    in_a_container(request)

    def run() -> None:
        with pytest.raises(grpc.RpcError):
            list(boxes.plane.stream("Run", request))

    running = Thread(target=run)
    running.start()
    boxes.settle(lambda: any((boxes.plane.data / "accounts").rglob("hangs")))
    assert len(engine.containers()) == 2
    boxes.plane.kill()
    running.join()
    boxes.settle(lambda: engine.containers() == kept)
    boxes.plane.start()
    assert ask(boxes, "kept") == before


def test_application_whose_supervisor_was_killed(boxes: Any, engine: Any, served: Any):
    """
    The container of an application ends with the process that supervises it, and the next
    request gets another runner.
    """
    boxes.deploy("orphan", function=served.make_application("/tmp"), change=in_a_container)
    others = engine.containers()
    before = ask(boxes, "orphan")
    for pid in supervisors(boxes.plane.data):
        os.kill(pid, signal.SIGKILL)
    boxes.settle(lambda: not others & engine.containers())
    boxes.settle(lambda: ask(boxes, "orphan", check=False) not in (None, before))


@pytest.mark.skipif(not EVERY, reason="FAL_CORE_FAULTS=all kills the server of an idle one.")
def test_idle_application_of_a_server_that_was_killed(boxes: Any, engine: Any, served: Any):
    """The container of an application that a server has found again is gone once it was idle."""
    others = engine.containers()
    boxes.deploy(
        "idle", function=served.make_application("/tmp"), change=in_a_container, keep_alive=5
    )
    boxes.plane.kill()
    boxes.plane.start()
    assert ask(boxes, "idle")
    boxes.settle(lambda: engine.containers() <= others)


def test_other_kinds_are_refused(boxes: Any, served: Any):
    """
    A server that was told to run containers alone refuses other kinds with a sentence, to
    whoever runs, builds or deploys.
    """

    def never() -> None: ...

    request = HostedRun(application_name="never")
    request.function.method = "cloudpickle"
    request.function.definition = cloudpickle.dumps(never)
    request.environments.add(kind="virtualenv")
    building = BuildEnvironmentRequest()
    building.environments.add(kind="current")
    for name, asked in (
        ("Run", request),
        ("BuildEnvironment", building),
        ("RegisterApplication", boxes.registration("never")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            list(boxes.plane.stream(name, asked))
        assert "runs environments of kind container, and none of kind" in caught.value.details()


def test_requirements_of_clients_are_not_built_on_the_machine(
    boxes: Any, served: Any, tmp_path: Path
):
    """
    Nothing that has to be built from source is installed beside an image: its build would run
    outside of containers.
    """
    project = tmp_path / "project"
    project.mkdir()
    (project / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    building = BuildEnvironmentRequest()
    building.environments.add(kind="virtualenv")
    in_a_container(building)
    building.environments[0].configuration["requirements"] = [f"project @ {project.as_uri()}"]
    with pytest.raises(grpc.RpcError) as caught:
        list(boxes.plane.stream("BuildEnvironment", building))
    assert "is a file or a URL" in caught.value.details()
    assert not (tmp_path / "ran").exists()


def ask(boxes: Any, name: str, *, check: bool = True) -> str | None:
    """Return the name of the container that serves the application *name*."""
    with boxes.client("run") as client:
        answer = client.post(f"/owner/{name}/look", json={})
    if not check and answer.status_code != 200:
        return None
    assert answer.status_code == 200, answer.text
    return str(answer.json()["variables"]["HOSTNAME"])


def supervisors(data: Path) -> list[int]:
    """Return the processes that supervise what the server of *data* has deployed."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any("detached.supervision" in word for word in words):
            record = Path(words[-2]) / "status.json"
            if record.is_file() and str(data) in record.read_text():
                found.append(int(folder.name))
    return found
