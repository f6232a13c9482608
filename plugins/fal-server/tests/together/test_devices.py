"""Devices: which GPUs of the machine runners get, and what those who wait are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from isolate_proto import ListRunnersRequest, RunnerInfo, UpdateApplicationRequest

from fal_core.claims import DevicesHeld, Want, claim_devices
from fal_core.machines import Device, Machine
from fal_testing.harness.devices import gpu, machine_with

pytestmark = pytest.mark.faults

H100 = Machine(name="GPU-H100", gpus=1, gpu_model="H100")
A100 = Machine(name="GPU-A100", gpus=1, gpu_model="A100")
B200 = Machine(name="GPU-B200", gpus=8, gpu_model="B200")
SMALL = Machine(name="XS")
A_CARD: dict[str, Any] = {"name": "Test A100"}


def make_application(folder: str) -> Callable[..., None]:
    """
    Return an application that answers with its devices and its process; while it has a
    request that names a gate, until that is opened.
    """

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import json
        import os
        import time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                gate = json.loads(sent or b"{}").get("gate")
                while gate and not os.path.exists(f"{folder}/{gate}"):
                    # Until the test opens it.
                    time.sleep(0.02)
                told = {"devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid()}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


class Machines:
    """A server on a machine whose devices the test names."""

    def __init__(self, standing: Any) -> None:
        self.standing = standing
        self.function = make_application(str(standing.folder))

    def deploy(self, name: str, machine_type: str = "GPU-H100", **machine: Any) -> str:
        def change(request: Any) -> None:
            requirements = request.machine_requirements
            types = machine_type.split()
            requirements.machine_type = types[0]
            requirements.machine_types.extend(types)

        deployed: str = self.standing.deploy(
            name, function=self.function, change=change, **machine
        )
        return deployed

    def ask(self, name: str) -> Any:
        """Ask an application directly."""
        with self.standing.client("run") as client:
            return client.post(f"/owner/{name}", json={})

    def devices(self, name: str) -> str:
        """Return the devices that an application answers with."""
        answer = self.ask(name)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["devices"])

    def status(self, name: str, request: str) -> Any:
        with self.standing.client() as client:
            path = f"/owner/{name}/requests/{request}/status"
            return client.get(path, params={"logs": 1}).json()

    def waits(self, name: str, request: str, reason: str) -> Any:
        """Wait until a queued request says that it waits for *reason*, and return its status."""
        self.standing.settle(
            lambda: reason in self.status(name, request).get("reason", ""),
            hint=lambda: f"{self.status(name, request)} {self.standing.lines(name)}",
        )
        return self.status(name, request)

    def clear(self) -> None:
        """Remove all applications, and wait until their runners have ended."""
        plane, catalog = self.standing.plane, self.standing.plane.plane.catalog
        for application in list(catalog.applications.values()):
            plane.here(application.pool.kill)
            plane.run(catalog.delete_alias(application))
            self.standing.settle(lambda it=application: not it.runners)


@pytest.fixture(scope="module")
def standing(
    tmp_path_factory: pytest.TempPathFactory, planes: Any, served: Any, programs: Any
) -> Iterator[Any]:
    """A server with claims of its own."""
    root = tmp_path_factory.mktemp("devices")
    (root / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAL_CORE_CLAIMS", str(root / "devices"))
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        with machine_with(gpu(0)):
            made = served.ServedPlane(root / "folder", lambda: planes.Plane(root / "data"))
        yield made
        made.plane.close()
        programs.end_runners(root / "data")


@pytest.fixture
def machines(standing: Any) -> Iterator[Machines]:
    """The server without applications; the test says which devices there are."""
    made = Machines(standing)
    yield made
    made.clear()
    standing.settle(lambda: free_of(gpu(0), gpu(1), gpu(2)))


def free_of(*devices: Device) -> bool:
    with machine_with(*devices):
        return free(len(devices))


def free(count: int = 1) -> bool:
    try:
        claim_devices([Want(count=count)], wait=0).release()
    except DevicesHeld:
        return False
    return True


def test_runners_get_the_gpus_that_they_ask_for(machines: Machines) -> None:
    """
    Each runner has its GPUs by their UUIDs, and none has those of another; one that asks for
    none sees none. They are free once the runner is killed.
    """
    with machine_with(gpu(0), gpu(1), machines=(H100, SMALL)):
        machines.deploy("first")
        machines.deploy("second")
        machines.deploy("small", "XS")
        assert {machines.devices("first"), machines.devices("second")} == {"GPU-0", "GPU-1"}
        assert machines.devices("small") == ""
        assert not free()
        os.kill(machines.ask("first").json()["pid"], signal.SIGKILL)
        # Another runner takes the place of the first.
        machines.standing.settle(lambda: machines.ask("first").status_code == 200)
        assert {machines.devices("first"), machines.devices("second")} == {"GPU-0", "GPU-1"}


def test_all_gpus_or_none(machines: Machines) -> None:
    """
    ``num_gpus`` are given together, and counted for the released clients, which ask how many
    there are of each type.
    """
    with machine_with(gpu(0), gpu(1), gpu(2), machines=(H100,)):
        machines.deploy("pair", num_gpus=2)
        assert machines.devices("pair") == "GPU-0,GPU-1"
        with machines.standing.plane.client() as client:
            told = client.get("/applications/metrics").json()
    assert told["apps"]["owner/pair"] == {"gpu_count_by_type": {"GPU-H100": 2}}
    assert told["summary"] == {"total_gpu_by_type": {"GPU-H100": 2}}


def test_inherited_variables_bound_what_is_given(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that may use some GPUs gives no others."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with machine_with(gpu(0), gpu(1), machines=(H100,)):
        machines.deploy("one")
        assert machines.devices("one") == "GPU-1"
        with pytest.raises(grpc.RpcError) as caught:
            machines.deploy("two", num_gpus=2)
    assert "CUDA_VISIBLE_DEVICES lets this process use 1" in str(caught.value)


def test_a_machine_without_any(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    planes: Any,
    served: Any,
    programs: Any,
) -> None:
    """
    Where the machine has never had a GPU, what asks for one runs without: its log says so,
    and that of the server once. Once it has one, the next runner has it.
    """
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "devices"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    data = tmp_path / "data"
    standing = served.ServedPlane(tmp_path, lambda: planes.Plane(data))
    machines = Machines(standing)
    said = (
        "It asks for a GPU of machine type 'GPU-H100', and this machine has none. It runs "
        "without a GPU."
    )

    def wanting(request: Any) -> None:
        request.machine_requirements.machine_type = "GPU-H100"

    try:
        with machine_with(machines=(H100,)):
            machines.deploy("wanting")
            assert machines.devices("wanting") == ""
            assert said in standing.lines("wanting")
            assert standing.run(see, change=wanting, keep_alive=0) == ""
        assert [said in each for each in caplog.messages].count(True) == 1
        with machine_with(gpu(0), machines=(H100,)):
            # What drivers have told is good enough for a while.
            standing.plane.plane.launcher.hosts.line.inventory.look()
            assert standing.run(see, change=wanting, keep_alive=0) == "GPU-0"
    finally:
        standing.plane.close()
        programs.end_runners(data)


def test_a_machine_without_any_where_limits_hold(
    tmp_path: Path, planes: Any, served: Any
) -> None:
    """A server that holds runners to their machine types refuses what asks for a GPU."""
    standing = served.ServedPlane(
        tmp_path, lambda: planes.Plane(tmp_path / "data", enforce=True)
    )
    try:
        with machine_with(machines=(H100,)), pytest.raises(grpc.RpcError) as caught:
            Machines(standing).deploy("wanting")
    finally:
        standing.plane.close()
    assert "and this machine has none" in str(caught.value)


def test_a_machine_without_the_gpu(machines: Machines) -> None:
    """
    A deployment fails where the machine has no such GPU. A queued request to the application
    waits, and says for what; one that is not queued is refused; and both other applications
    and a server with the GPU go on.
    """
    with machine_with(machines=(H100, SMALL)):
        with pytest.raises(grpc.RpcError) as caught:
            machines.deploy("wanting")
        reason = "It asks for a GPU of machine type 'GPU-H100', and this machine has none."
        assert reason in str(caught.value)
        machines.deploy("small", "XS")
        request = machines.standing.submit("wanting")
        status = machines.waits("wanting", request, reason)
        assert status["status"] == "IN_QUEUE"
        assert status["queue_position"] == 0
        assert status["logs"][-1]["message"] == reason
        asked = ListRunnersRequest(list_pending=True)
        listed = machines.standing.plane.call("ListRunners", asked).runners
        (pending,) = [each for each in listed if each.alias == "wanting"]
        assert (pending.state, pending.machine_type) == (RunnerInfo.PENDING, "GPU-H100")
        assert pending.external_metadata["waits_for"] == reason
        refused = machines.ask("wanting")
        assert refused.status_code == 503
        assert reason in refused.json()["detail"]
        assert machines.ask("small").status_code == 200
    with machine_with(gpu(0), machines=(H100,)):
        answer = machines.standing.finish("wanting", request).json()
        assert answer["devices"] == "GPU-0"
    lines = [line["message"] for line in machines.status("wanting", request)["logs"]]
    assert any(line.startswith("It has waited for ") for line in lines)


def test_fallbacks(machines: Machines) -> None:
    """
    Of several machine types the first is taken that the machine has, and the list of runners
    names it.
    """
    with machine_with(gpu(0, **A_CARD), machines=(H100, A100, B200)):
        machines.deploy("either", "GPU-B200 GPU-H100 GPU-A100")
        assert machines.devices("either") == "GPU-0"
        (runner,) = machines.standing.plane.plane.catalog.find("owner", "either").runners
        assert runner.spec.machine_type == "GPU-A100"


def test_applications_that_compete(machines: Machines) -> None:
    """
    While a runner has the only GPU, the requests of another application wait and say so; one
    that needs none does not wait. The runner ends after its keep-alive, and those who wait
    get the GPU in the order in which they have come.
    """
    standing = machines.standing
    with machine_with(gpu(0), machines=(H100, SMALL)):
        for name in ("second", "third", "first"):
            # A deployment is done once its runner is up, and its runner ends at once.
            machines.deploy(name, keep_alive=0)
        holder = standing.submit("first", {"gate": "gate"})
        standing.begin("first", holder)
        waiting = standing.submit("second", {"gate": "second"})
        reason = "It waits for a GPU of machine type 'GPU-H100'"
        machines.waits("second", waiting, reason)
        later = standing.submit("third", {"gate": "third"})
        machines.waits("third", later, reason)
        machines.deploy("small", "XS")
        assert machines.devices("small") == ""
        assert machines.status("second", waiting)["status"] == "IN_QUEUE"
        standing.open("gate")
        standing.begin("second", waiting)
        assert machines.status("third", later)["status"] == "IN_QUEUE"
        standing.open("second")
        standing.open("third")
        assert standing.finish("third", later).json()["devices"] == "GPU-0"


def test_a_request_that_is_cancelled_leaves_the_line(machines: Machines) -> None:
    """A runner that nobody waits for any more leaves the line, and starts never."""
    standing = machines.standing
    with machine_with(gpu(0), machines=(H100,)):
        machines.deploy("idle", keep_alive=0)
        claim = None
        standing.settle(free)
        claim = claim_devices([Want(count=1)], wait=0)
        request = standing.submit("idle")
        machines.waits("idle", request, "It waits for a GPU")
        with standing.client() as client:
            client.put(f"/owner/idle/requests/{request}/cancel").raise_for_status()
        find = standing.plane.plane.catalog.find
        standing.settle(lambda: not find("owner", "idle").runners)
        claim.release()
        assert free()


def see() -> str | None:
    """Return the devices that this process sees."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_functions(machines: Machines) -> None:
    """
    A function gets the GPU that it asks for, and waits for it while others hold it. It ends
    with an error where the machine has none.
    """
    standing = machines.standing

    def wanting(request: Any) -> None:
        request.machine_requirements.machine_type = "GPU-H100"

    with machine_with(gpu(0), machines=(H100, SMALL)):
        assert standing.run(see, change=wanting, keep_alive=0) == "GPU-0"
        standing.settle(free)
        claim = claim_devices([Want(count=1)], wait=0)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(standing.run, see, change=wanting, keep_alive=0)
            lines = "It waits for a GPU of machine type 'GPU-H100'"
            standing.settle(lambda: any(lines in each for each in standing.lines("see")))
            assert not waiting.done()
            claim.release()
            assert waiting.result() == "GPU-0"
    with machine_with(machines=(H100,)), pytest.raises(grpc.RpcError) as caught:
        standing.run(see, change=wanting, keep_alive=1)
    assert "asks for a GPU of machine type 'GPU-H100', and this machine has none" in str(
        caught.value
    )


def test_other_machine_types_for_those_who_wait(machines: Machines) -> None:
    """
    A runner that waits gives way to one of the machine types that its application has been
    given meanwhile.
    """
    standing = machines.standing
    with machine_with(gpu(0, **A_CARD), machines=(H100, A100)):
        with pytest.raises(grpc.RpcError):
            machines.deploy("moving")
        request = standing.submit("moving")
        machines.waits("moving", request, "machine type 'GPU-H100'")
        changed = UpdateApplicationRequest(
            application_name="moving", machine_types=["GPU-A100"]
        )
        standing.plane.call("UpdateApplication", changed)
        assert standing.finish("moving", request).json()["devices"] == "GPU-0"
