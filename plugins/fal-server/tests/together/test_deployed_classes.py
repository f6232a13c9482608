"""Classes that ``fal-core deploy`` puts on a server, which is killed and started again."""

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


def restart(served_plane: Any) -> None:
    served_plane.plane.kill()
    served_plane.plane.start()


def ask(served_plane: Any) -> Any:
    with served_plane.client("run") as client:
        answer = client.post("/owner/class", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def served_plane(standing: Any) -> Any:
    """A server with the class on it."""
    standing.deploy_class("class", SOURCE, "--detach")
    return standing


def test_server_that_is_killed_while_a_runner_starts(served_plane: Any):
    """
    A runner that loads its model while no server runs is not replaced, and answers the
    waiting requests.
    """
    waiting = served_plane.submit("class")
    begun: Path = served_plane.folder / "begun"
    served_plane.settle(begun.exists)
    restart(served_plane)
    assert served_plane.status("class", waiting).json()["status"] == "IN_QUEUE"
    served_plane.open("start")
    answer = served_plane.finish("class", waiting)
    assert (answer.status_code, answer.text) == (200, begun.read_text())


def test_server_that_is_killed_while_a_runner_is_idle(served_plane: Any):
    """A runner that has nothing to do answers the next server, however often."""
    served_plane.open("start")
    pid = ask(served_plane)
    for _ in range(2):
        restart(served_plane)
        assert ask(served_plane) == pid


def test_server_that_is_killed_while_a_runner_has_a_request(served_plane: Any):
    """A request of the queue that a runner had is given to the same one again."""
    served_plane.open("start")
    pid = ask(served_plane)
    held = served_plane.submit("class/hold")
    served_plane.settle(lambda: "is held" in served_plane.lines("class"))
    restart(served_plane)
    served_plane.open("gate")
    answer = served_plane.finish("class", held)
    assert (answer.status_code, answer.json()) == (200, pid)
    assert served_plane.status("class", held).json()["attempts"] == 2
