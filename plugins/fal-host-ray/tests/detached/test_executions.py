"""Detached work on nodes: who launches it, and who follows it."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from fal_core.events import Event, Exited, Log, Outcome
from fal_host_ray import RayHost
from fal_host_ray.detached.executions import NoSuchExecution

LAUNCH = """
from fal_core import function
from fal_host_ray import RayHost


@function("current", host=RayHost({address!r}), secrets=["WORD"])
def count(steps):
    import os

    for step in range(steps):
        print("step", step)
    print(os.environ["WORD"])


print(count.with_policy(lifetime="detached").spawn(5).reference)
"""


def follow(host: RayHost, reference: str, after: int = 0) -> list[Event]:
    """Return the events of work from one on, to its end."""
    events: list[Event] = []
    ended = threading.Event()

    def take(event: Event) -> None:
        events.append(event)
        if isinstance(event, Exited):
            ended.set()

    host.attach(reference, take, after)
    assert ended.wait(60)
    return events


def test_work_outlives_its_program(ray_host: RayHost, cluster: Any, monkeypatch, tmp_path):
    """
    Another program gets every event of work whose program has ended, or those from one on,
    while it runs and after its end; the list tells how it has ended. Its secrets reach it.
    """
    monkeypatch.setenv("WORD", "open sesame")
    (tmp_path / "launch.py").write_text(LAUNCH.format(address=cluster.address))
    command = [sys.executable, str(tmp_path / "launch.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    reference = done.stdout.split()[-1]

    events = follow(ray_host, reference)
    lines = [each.message for each in events if isinstance(each, Log) and each.source == "USER"]
    assert lines == [*(f"step {step}" for step in range(5)), "open sesame"]
    assert any(isinstance(each, Outcome) and not each.raised for each in events)
    # What is told while it waits for a place is no event of the work.
    whole = follow(ray_host, reference)
    last = follow(ray_host, reference, len(whole) - 2)
    assert [type(each) for each in last] == [Outcome, Exited]

    (status,) = [each for each in ray_host.executions() if each.reference == reference]
    assert (status.name, status.ended, status.end) == ("count", True, "returned")


def test_work_that_is_unknown(ray_host: RayHost):
    """Attaching to what is not there is an error that names it."""
    with pytest.raises(NoSuchExecution, match="'nothing'"):
        ray_host.attach("nothing", lambda _: None)
