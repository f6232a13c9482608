"""A client that a server forks, before and after it has called."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fal_testing.harness.processes import is_alive, wait_until

pytest.importorskip("gunicorn")
pytestmark = pytest.mark.faults

APPLICATION = """
import json, os
from fal_core import function

@function("current", keep_alive=600)
def pid(seconds=0.0):
    import os, time
    time.sleep(seconds)
    return os.getpid()

# With --preload this runs in the process that forks, whose worker is warm from then on.
loaded_in, first = os.getpid(), pid()

def application(environ, start_response):
    submitted = [pid.submit(0.05) for _ in range(3)]
    facts = {
        "process": os.getpid(),
        "loaded_in": loaded_in,
        "first": first,
        "called": pid(),
        "submitted": [future.result() for future in submitted],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts).encode()]
"""

SETTINGS = """
import json, os

bind = "127.0.0.1:0"
workers = 2
threads = 2
worker_class = "gthread"
graceful_timeout = 5

def tell(name, facts):
    with open("part-" + name, "w") as file:
        json.dump(facts, file)
    os.rename("part-" + name, name)

def pre_fork(server, worker):
    if preload_app:
        # The process that forks calls on, before each fork and so after the one before.
        import application
        application.between = [*getattr(application, "between", ()), application.pid()]

def post_worker_init(worker):
    tell(f"port-{os.getpid()}", worker.sockets[0].getsockname()[1])

def on_exit(server):
    if preload_app:
        import application
        own = [application.first, *application.between, application.pid()]
        tell("forking", [os.getpid(), *own])
"""


@pytest.fixture
def server(tmp_path: Path, preload: bool) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "settings.py").write_text(f"{SETTINGS}preload_app = {preload}\n")
    command = ["gunicorn", "-c", "settings.py", "application:application"]
    # Python warns of what gunicorn does, from 3.15 on so that the fork fails.
    allowed = "ignore:This process:DeprecationWarning"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", allowed, "-m", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "plain"])
def test_gunicorn_calls_from_both_sides(
    tmp_path: Path, server: subprocess.Popen[str], preload: bool
) -> None:
    """
    Each process of gunicorn has workers of its own, also where the application was loaded
    and has called before they were forked; all end with the server.
    """
    assert wait_until(lambda: len(list(tmp_path.glob("port-*"))) == 2, 60), server.poll()
    [port] = {json.loads(path.read_text()) for path in tmp_path.glob("port-*")}

    def get() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as answer:
            return json.load(answer)

    answers: list[dict[str, Any]] = []
    until = time.monotonic() + 60
    with ThreadPoolExecutor(6) as pool:
        while len({answer["process"] for answer in answers}) < 2:
            assert time.monotonic() < until
            answers += pool.map(lambda _: get(), range(12))

    server.terminate()
    output, _ = server.communicate(timeout=60)
    assert server.returncode == 0, output
    assert not any(word in output for word in ("Traceback", "Error", "Warning")), output

    used: dict[object, set[int]] = {}
    for answer in answers:
        pids = used.setdefault(answer["process"], set())
        pids |= {answer["called"], *answer["submitted"]}
        assert (answer["loaded_in"] == server.pid) == preload
    if preload:
        forking, first, *others = json.loads((tmp_path / "forking").read_text())
        assert (forking, set(others)) == (server.pid, {first})
        used[forking] = {first}
    every = [pid for pids in used.values() for pid in pids]
    assert len(every) == len(set(every)), used
    assert wait_until(lambda: not any(map(is_alive, every)), 60)
