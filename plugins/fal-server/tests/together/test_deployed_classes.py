"""
Classes that ``fal-core deploy`` puts on a server, which is killed and started again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_serve")

pytestmark = pytest.mark.faults

#: Holds its start and its requests until there are files.
SOURCE = """
    import os
    import time
    from pathlib import Path

    from fal_serve import App, endpoint


    def wait_for(name: str) -> None:
        # Until the test lets it go.
        while not Path(FOLDER, name).exists():
            time.sleep(0.02)


    class Served(App, keep_alive=300, max_concurrency=1, max_multiplexing=4):
        def setup(self) -> None:
            Path(FOLDER, "begun").write_text(str(os.getpid()))
            wait_for("start")

        @endpoint("/")
        def look(self) -> int:
            return os.getpid()

        @endpoint("/hold")
        def hold(self) -> int:
            print("is held")
            wait_for("gate")
            return os.getpid()
"""


def restart(stage: Any) -> None:
    stage.plane.kill()
    stage.plane.start()


def ask(stage: Any) -> Any:
    with stage.client("run") as client:
        answer = client.post("/owner/class", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def stage(standing: Any) -> Any:
    """
    A server with the class on it.
    """
    standing.deploy_class("class", SOURCE)
    return standing


def test_server_that_is_killed_while_a_runner_starts(stage: Any):
    """
    A runner that is loading its model while no server runs is not started once more, and
    answers what waits for it.
    """
    waiting = stage.submit("class")
    begun: Path = stage.folder / "begun"
    stage.settle(begun.exists)
    restart(stage)
    assert stage.status("class", waiting).json()["status"] == "IN_QUEUE"
    stage.open("start")
    answer = stage.finish("class", waiting)
    assert (answer.status_code, answer.text) == (200, begun.read_text())


def test_server_that_is_killed_while_a_runner_is_idle(stage: Any):
    """
    A runner that has nothing to do answers the next server, however often.
    """
    stage.open("start")
    pid = ask(stage)
    for _ in range(2):
        restart(stage)
        assert ask(stage) == pid


def test_server_that_is_killed_while_a_runner_has_a_request(stage: Any):
    """
    A request of the queue that a runner had is given to the same one again.
    """
    stage.open("start")
    pid = ask(stage)
    held = stage.submit("class/hold")
    stage.settle(lambda: "is held" in stage.lines("class"))
    restart(stage)
    stage.open("gate")
    answer = stage.finish("class", held)
    assert (answer.status_code, answer.json()) == (200, pid)
    assert stage.status("class", held).json()["attempts"] == 2
