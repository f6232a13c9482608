"""
Unreadable applications: those that need what is no longer installed on the server.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

pytestmark = pytest.mark.faults


def rename_kind(stage: Any, revision: str, before: bytes, after: bytes) -> None:
    """
    Have a registration name another kind of environment, while no server runs.
    """
    with sqlite3.connect(stage.plane.settings.data / "state.db") as connection:
        query = "select request from revisions where id = ?"
        ((request,),) = connection.execute(query, (revision,))
        assert before in request
        changed = (request.replace(before, after), revision)
        connection.execute("update revisions set request = ? where id = ?", changed)
    connection.close()


def restart_with(stage: Any, revision: str, before: bytes, after: bytes) -> None:
    stage.plane.close()
    rename_kind(stage, revision, before, after)
    stage.plane = stage._start()


def ask(stage: Any, name: str) -> Any:
    with stage.client("run") as client:
        return client.post(f"/owner/{name}", json={})


@pytest.fixture
def broken(stage: Any) -> Any:
    """
    A server that lacks the environments of the application ``odd``, and has those of
    ``well``.
    """
    stage.deploy("well")
    revision = stage.deploy("odd")
    assert ask(stage, "odd").status_code == 200
    restart_with(stage, revision, b"virtualenv", b"virtuality")
    yield revision
    stage.settle(lambda: not stage.plane.plane.catalog.find("owner", "odd").broken)


def test_application_that_cannot_be_read(stage: Any, broken: str):
    """
    Its requests are refused with the reason, those of the queue are kept until it can be
    read again, and other applications answer.
    """
    assert ask(stage, "well").status_code == 200
    answer = ask(stage, "odd")
    assert answer.status_code == 503
    assert "no environments of kind 'virtuality'" in answer.json()["detail"]
    waiting = stage.submit("odd")
    hurried = stage.submit("odd", X_Fal_Request_Timeout="0.5")
    assert stage.finish("odd", hurried).status_code == 504
    assert stage.status("odd", waiting).json()["status"] == "IN_QUEUE"
    restart_with(stage, broken, b"virtuality", b"virtualenv")
    assert stage.finish("odd", waiting).status_code == 200


def test_application_that_is_deployed_again(stage: Any, broken: str):
    """
    A release that can be read takes what waits.
    """
    waiting = stage.submit("odd")
    stage.deploy("odd")
    assert stage.finish("odd", waiting).status_code == 200
    assert ask(stage, "odd").status_code == 200
