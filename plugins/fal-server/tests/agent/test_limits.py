"""Memory: only the runner that exceeds the memory of its machine type is ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from isolate_proto import HostedRun

from fal_server_agent.limits import drop_groups

pytestmark = pytest.mark.faults

GROUPS = Path("/sys/fs/cgroup/memory/fal-core"), Path("/sys/fs/cgroup/fal-core")


@pytest.fixture(scope="module")
def leaving_no_groups() -> Iterator[None]:
    """Remove the groups of the runners that are ended with the module."""
    yield
    drop_groups()
    for parent in GROUPS:
        with contextlib.suppress(OSError):
            parent.rmdir()


@pytest.fixture(scope="module")
def limited(
    leaving_no_groups: None,
    make_standing: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A server whose machine type S has little memory."""
    return make_standing(tmp_path_factory.mktemp("limited"), "--memory", "S=160M")


def make_hungry(folder: str) -> Callable[..., None]:
    """Return an application that allocates as much memory as each request says, in MiB."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import os
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        held = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                for _ in range(int(self.path.strip("/"))):
                    held.append(os.urandom(1 << 20))
                body = str(os.getpid()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def groups() -> list[Path]:
    """Return the control groups of runners."""
    return [each for parent in GROUPS for each in parent.glob("runner-*")]


def needs_groups() -> None:
    if os.geteuid() or not any(os.access(each.parent, os.W_OK) for each in GROUPS):
        pytest.skip("Control groups cannot be made here, which takes root.")


def test_runner_that_takes_too_much_memory(limited: Any):
    """
    The runner is ended, and the answer, the queue and the log report that it ran out of
    memory; other runners go on, and a new one takes its place.
    """
    needs_groups()
    hungry = make_hungry(str(limited.folder))
    for name in ("hungry", "modest"):
        limited.deploy(name, function=hungry, machine_type="S")
    with limited.client("run") as client:
        modest = client.post("/owner/modest/8").text
        pid = client.post("/owner/hungry/8").text
        answer = client.post("/owner/hungry/400")
        assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
        assert "ran out of memory" in answer.json()["detail"]
        assert client.post("/owner/hungry/8").text != pid
        assert client.post("/owner/modest/8").text == modest
    queued = limited.submit("hungry/400", X_Fal_No_Retry="1")
    assert "ran out of memory" in limited.finish("hungry", queued).json()["detail"]
    limited.settle(lambda: any("ran out of memory" in line for line in limited.lines("hungry")))
    # Of those that were ended nothing is left.
    limited.settle(lambda: len(groups()) <= 2)


def test_function_that_takes_too_much_memory(limited: Any):
    """The caller of a function gets the same report."""
    needs_groups()

    def fill() -> int:
        held = []
        for _ in range(400):
            held.append(os.urandom(1 << 20))
        return len(held)

    def small(request: HostedRun) -> None:
        request.machine_requirements.machine_type = "S"

    with pytest.raises(grpc.RpcError) as caught:
        limited.run(fill, change=small)
    assert "ran out of memory" in caught.value.details()
    # Nothing is said of other types.
    assert limited.run(fill) == 400


@pytest.mark.parametrize("enforces", [True, False])
def test_sizes_that_are_stated(
    leaving_no_groups: None,
    make_standing: Callable[..., Any],
    tmp_path: Path,
    enforces: bool,
):
    """
    Runners are held to the sizes that are stated of their machine type where the operator
    has asked for that, and nowhere else; the error names a type that would have fitted.
    """
    pytest.importorskip("fal_machines")
    needs_groups()
    types = tmp_path / "machines.toml"
    types.write_text('[machines.TINY]\nmemory = "200 MB"\n')
    standing = make_standing(
        tmp_path,
        *(["--enforce"] if enforces else []),
        variables={"FAL_CORE_MACHINES": str(types)},
    )
    hungry = make_hungry(str(standing.folder))
    standing.deploy("hungry", function=hungry, machine_type="TINY")
    with standing.client("run") as client:
        assert client.post("/owner/hungry/8").status_code == 200
        answer = client.post("/owner/hungry/400")
    if not enforces:
        assert answer.status_code == 200
        return
    assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
    assert "machine type 'TINY' has 200 MB" in answer.json()["detail"]
    assert "The next larger one is 'XS'" in answer.json()["detail"]


REFUSED = """
import sys
from fal_server_agent.limits import limit_memory

print(limit_memory(96 << 20, "runner-test"), flush=True)
try:
    bytearray(200 << 20)
except MemoryError:
    print("refused")
print(len(bytearray(16 << 20)))
"""


def test_memory_where_there_are_no_groups():
    """If no control group can be made, allocations above the limit fail in the process."""
    command = [sys.executable, "-c", REFUSED]
    if not os.geteuid():
        away = 'umount -l /sys/fs/cgroup && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", away, "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "refused", str(16 << 20)], done.stderr
