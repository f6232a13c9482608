"""
A clock that is set: durations and timeouts follow a clock that nobody sets.

The clock is set back by default; FAL_CORE_FAULTS=all sets it forward too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from isolate_proto import controller_pb2 as wire

from fal_core_worker import trees

pytestmark = pytest.mark.faults

DAY = 24 * 3600.0

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

#: By how many seconds the clock is set.
OFFSETS = (2 * DAY, -2 * DAY) if EVERY else (-2 * DAY,)

#: Where a distribution has the library.
LIBRARY = "*/faketime/libfaketime.so.1"

#: What a server imports first whose clock a file sets.
PATCH = """
import os, time

real = time.time


def told() -> float:
    try:
        with open({path!r}) as file:
            return real() + float(file.read() or 0)
    except OSError:
        return real()


time.time = told
"""


@attrs.define
class Clock:
    """
    The clock of a server.

    Attributes:
        variables: What the server is started with.
    """

    path: Path
    variables: dict[str, str]

    def set(self, seconds: float) -> None:
        """Have the clock differ from the right one by so many seconds."""
        new = self.path.with_name("new")
        new.write_text(f"{seconds:+.0f}")
        new.rename(self.path)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """
    A clock that is set for one server and its child processes; or for the server alone, if
    libfaketime is missing.
    """
    folder = tmp_path_factory.mktemp("clock")
    path = folder / "offset"
    path.write_text("+0")
    found = [
        each for root in ("/usr/lib", "/usr/local/lib") for each in Path(root).glob(LIBRARY)
    ]
    if found:
        variables = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return Clock(path, variables)
    (folder / "sitecustomize.py").write_text(PATCH.format(path=str(path)))
    return Clock(path, {"PYTHONPATH": str(folder)})


@pytest.fixture(scope="module")
def timed(
    clock: Clock, make_standing: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A server whose clock is set."""
    # What the server starts has its clock as well.
    told = ("--variable", "FAKETIME_*")
    return make_standing(tmp_path_factory.mktemp("timed"), *told, variables=clock.variables)


def runner_of(served_plane: Any, name: str) -> Any:
    request = wire.ListAliasRunnersRequest(alias=name, list_pending=True)
    (found,) = served_plane.plane.call("ListAliasRunners", request).runners
    return found


@pytest.mark.parametrize("offset", OFFSETS)
def test_clock_that_is_set(timed: Any, clock: Clock, offset: float):
    """
    Setting the clock neither ends requests and runners nor keeps them longer, and reported
    durations stay right.
    """
    clock.set(0)
    name, gate = f"app{offset < 0:d}", f"gate {offset}"
    timed.deploy(name, request_timeout=600, keep_alive=600)
    timed.deploy(f"{name}-short", keep_alive=1)
    earlier = timed.submit(name, {"name": "earlier"})
    timed.finish(name, earlier)
    began = time.monotonic()
    runner = runner_of(timed, name)
    held = timed.submit(f"{name}/hold", {"gate": gate})
    timed.begin(name, held)
    timed.finish(f"{name}-short", timed.submit(f"{name}-short"))
    clock.set(offset)
    waiting = timed.submit(name, X_Fal_Request_Timeout="600")
    # One that was idle for its time ends, and no other.
    request = wire.ListAliasRunnersRequest(alias=f"{name}-short", list_pending=True)
    timed.settle(lambda: not timed.plane.call("ListAliasRunners", request).runners)
    timed.open(gate)
    for each in (held, waiting, earlier):
        assert timed.finish(name, each).status_code == 200
    took = timed.status(name, held).json()["metrics"]["inference_time"]
    assert 0 <= took <= time.monotonic() - began + 1
    found = runner_of(timed, name)
    assert found.runner_id == runner.runner_id
    assert runner.uptime <= found.uptime <= runner.uptime + time.monotonic() - began + 60


def test_start_timeout_of_a_request_that_is_tried_again(timed: Any, clock: Clock):
    """
    The start timeout of a request is measured by the monotonic clock, over all its
    attempts.
    """
    clock.set(0)
    timed.deploy("again")
    held = timed.submit("again/hold", {"gate": "again"})
    timed.begin("again", held)
    body = {"statuses": [504, 200]}
    waiting = timed.submit("again/attempts", body, X_Fal_Request_Timeout="600")
    clock.set(2 * DAY)
    timed.open("again")
    answer = timed.finish("again", waiting)
    assert (answer.status_code, answer.json().get("attempt")) == (200, 2), answer.text
    clock.set(0)


def test_lines_of_a_runner_that_is_found_again(timed: Any, clock: Clock):
    """Lines printed while no server runs, and after the clock was set, are kept once."""
    clock.set(0)

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                print(f"asked for {self.path}")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    timed.deploy("prints", function=serve)
    with timed.client("run") as client:
        client.post("/owner/prints/one")
    timed.settle(lambda: "asked for /one" in timed.lines("prints"))
    timed.plane.kill()
    timed.plane.start()
    with timed.client("run") as client:
        client.post("/owner/prints/two")
    timed.settle(lambda: "asked for /two" in timed.lines("prints"))
    assert timed.lines("prints").count("asked for /one") == 1


def test_times_of_processes():
    """
    The start of a process is measured by the clock that counts from the start of the
    machine.
    """
    assert 0 < trees.started(os.getpid()) <= trees.now()
