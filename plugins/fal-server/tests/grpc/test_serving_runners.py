"""Runs of applications whose runner is replaced, and those whose runner ends."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import grpc
import pytest
from isolate_proto import HostedRun, StopRunnerRequest


@pytest.fixture
def run(served_plane: Any, served: Any) -> Any:
    """A run of the application."""
    running = Run(served_plane, served)
    yield running
    running.stop()


class Run:
    """The messages of a run, which a thread takes as they come."""

    def __init__(self, served_plane: Any, served: Any) -> None:
        self.plane = served_plane
        request = HostedRun(application_name="lives")
        served.fill(request, served.make_application(str(served_plane.folder)))
        request.machine_requirements.exposed_port = 8080
        self.messages: list[Any] = []
        self.error: grpc.RpcError | None = None
        self._thread = threading.Thread(target=self._take, args=(request,))
        self._thread.start()
        served_plane.settle(lambda: self.messages or self.ended)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    @property
    def path(self) -> str:
        return f"/owner/lives-{self.messages[0].run_id[:8]}"

    def ask(self, path: str, told: Any) -> Any:
        with self.plane.client("run") as client:
            return client.post(f"{self.path}/{path}", json=told)

    def lines(self) -> list[str]:
        return [log.message for each in self.messages for log in each.logs]

    def stop(self) -> None:
        if not self.ended:
            stop = StopRunnerRequest(runner_id=self.messages[0].run_id)
            self.plane.plane.call("KillRunner", stop)
        self._thread.join()

    def _take(self, request: Any) -> None:
        try:
            self.messages.extend(self.plane.plane.stream("Run", request))
        except grpc.RpcError as error:
            self.error = error


def test_broken_runner_of_a_run_is_replaced(run: Any):
    """
    A response with status 503 replaces the runner of a run, again and again; the caller is
    told of each.
    """
    pids = []
    for number in (1, 2):
        broken = run.ask("attempts", {"statuses": [503]})
        assert broken.status_code == 503
        pids.append(broken.json()["pid"])
        told = run.ask("attempts", {"statuses": [200]})
        assert told.status_code == 200
        assert told.json()["pid"] not in pids
        run.plane.settle(lambda n=number: sum("was replaced" in x for x in run.lines()) == n)
        assert not run.ended


def test_runner_that_dies_ends_its_run(run: Any):
    """The process of the runner that ends by itself is the end of the run, with an error."""
    os.kill(run.ask("attempts", {"statuses": [200]}).json()["pid"], signal.SIGKILL)
    run.plane.settle(lambda: run.ended)
    assert run.error is not None
    assert run.error.code() is grpc.StatusCode.ABORTED
    assert "was replaced" not in "".join(run.lines())


def test_run_that_is_stopped_after_its_runner_was_replaced(run: Any):
    """The id of a run stands for the runner that has taken the place of the first."""
    assert run.ask("attempts", {"statuses": [503]}).status_code == 503
    assert run.ask("attempts", {"statuses": [200]}).status_code == 200
    run.plane.settle(lambda: "was replaced" in "".join(run.lines()))
    run.stop()
    assert run.ended
