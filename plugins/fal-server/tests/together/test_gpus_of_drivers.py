"""GPUs that a driver tells of: a server in a process of its own, and the released clients."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core.claims import DevicesHeld, Want, claim_devices
from fal_testing.harness.devices import gpu, machine_with

pytest.importorskip("fal_machines")

sys.path.insert(0, str(Path(__file__).parents[4] / "tests" / "vendor"))

from vendor_libraries import MISMATCH, Gpu, gpus, nvml_library

__all__ = ["gpus", "nvml_library"]

pytestmark = pytest.mark.faults

UUID = "GPU-0a1b2c3d"

SUBMIT = """
import json, fal_client
handle = fal_client.submit("owner/wanting", {})
print(json.dumps(handle.request_id))
"""

STATUS = """
import json, fal_client
status = fal_client.status("owner/wanting", %r, with_logs=True)
print(json.dumps({"kind": type(status).__name__, **vars(status)}))
"""

RESULT = """
import json, fal_client
print(json.dumps(fal_client.result("owner/wanting", %r)))
"""


def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
    """Answer with the devices and the process."""
    import json
    import os
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
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


def is_free() -> bool:
    with machine_with(gpu(0, uuid=UUID)):
        try:
            claim_devices([Want(count=1)], wait=0, devices=[gpu(0, uuid=UUID)]).release()
        except DevicesHeld:
            return False
    return True


@pytest.mark.usefixtures("newest_clients")
def test_a_gpu_that_comes(
    clients: Any,
    gpus: Any,
    make_standing: Callable[..., Any],
    settle: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    While the driver fails, the server says so, and runs what needs no GPU; a request of the
    released client waits, and what it asks is told why. Once the driver tells of a GPU the
    request is answered there, and its log says what it has waited for. A server that is
    killed leaves the GPU to the runner; it is free once that is killed.
    """
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus.have(Gpu(uuid=UUID))
    standing = make_standing(tmp_path)
    server = standing.plane
    gpus.fail("nvmlInitWithFlags", MISMATCH)
    standing.deploy("small", function=serve, machine_type="XS")
    standing.deploy("wanting", function=serve, machine_type="GPU-H100", attach=False)
    with standing.client("run") as client:
        assert client.post("/owner/small").json()["devices"] == ""

    request = clients.python(SUBMIT, variables=server.variables)
    reason = "It asks for a GPU of machine type 'GPU-H100', and this machine has none."
    with standing.client() as client:
        path = f"/owner/wanting/requests/{request}/status"
        settle(lambda: client.get(path).json().get("reason") == reason)
    assert "NVIDIA's driver was updated" in server.program.errors.read_text()
    status = clients.python(STATUS % request, variables=server.variables)
    assert status == {"kind": "Queued", "position": 0}
    listed = clients.fal("runners", "list", "--state", "all", variables=server.variables)
    assert "GPU-H100" in listed
    assert "PENDING" in listed.upper()

    gpus.have(Gpu(uuid=UUID))
    answer = clients.python(RESULT % request, variables=server.variables)
    assert answer["devices"] == UUID
    status = clients.python(STATUS % request, variables=server.variables)
    waited = [line["message"] for line in status["logs"]]
    assert any(line.startswith("It has waited") and reason in line for line in waited), waited

    server.kill()
    assert not is_free()
    server.start()
    with standing.client("run") as client:
        found = client.post("/owner/wanting").json()
    assert found == answer
    server.kill()
    os.kill(found["pid"], signal.SIGKILL)
    settle(is_free)
    server.start()
