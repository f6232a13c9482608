"""Unreadable applications: those with requirements that are no longer installed on the server."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

pytestmark = pytest.mark.faults


def rename_kind(served_plane: Any, revision: str, before: bytes, after: bytes) -> None:
    """Have a registration name another kind of environment, while no server runs."""
    with sqlite3.connect(served_plane.plane.settings.data / "state.db") as connection:
        query = "select request from revisions where id = ?"
        ((request,),) = connection.execute(query, (revision,))
        assert before in request
        changed = (request.replace(before, after), revision)
        connection.execute("update revisions set request = ? where id = ?", changed)
    connection.close()


def restart_with(served_plane: Any, revision: str, before: bytes, after: bytes) -> None:
    served_plane.plane.close()
    rename_kind(served_plane, revision, before, after)
    served_plane.plane = served_plane._start()


def wait_for_ever(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
    """Be an application that does not come up."""
    import threading

    threading.Event().wait()


def ask(served_plane: Any, name: str) -> Any:
    with served_plane.client("run") as client:
        return client.post(f"/owner/{name}", json={})


@pytest.fixture
def broken(served_plane: Any) -> Any:
    """
    A server that lacks the environments of the application ``odd``, and has those of
    ``well``.
    """
    served_plane.deploy("well")
    revision = served_plane.deploy("odd")
    assert ask(served_plane, "odd").status_code == 200
    restart_with(served_plane, revision, b"virtualenv", b"virtuality")
    yield revision
    served_plane.settle(
        lambda: not served_plane.plane.plane.catalog.find("owner", "odd").broken
    )


def test_application_that_cannot_be_read(served_plane: Any, broken: str):
    """
    Its requests are refused with the reason, those of the queue are kept until it can be
    read again, and other applications answer.
    """
    assert ask(served_plane, "well").status_code == 200
    answer = ask(served_plane, "odd")
    assert answer.status_code == 503
    assert "no environments of kind 'virtuality'" in answer.json()["detail"]
    waiting = served_plane.submit("odd")
    hurried = served_plane.submit("odd", X_Fal_Request_Timeout="0.5")
    assert served_plane.finish("odd", hurried).status_code == 504
    assert served_plane.status("odd", waiting).json()["status"] == "IN_QUEUE"
    restart_with(served_plane, broken, b"virtuality", b"virtualenv")
    assert served_plane.finish("odd", waiting).status_code == 200


def test_application_that_is_deployed_again(served_plane: Any, broken: str):
    """A readable release takes the waiting requests."""
    waiting = served_plane.submit("odd")
    served_plane.deploy("odd")
    assert served_plane.finish("odd", waiting).status_code == 200
    assert ask(served_plane, "odd").status_code == 200


def test_deployment_that_cannot_be_read(served_plane: Any, caplog: pytest.LogCaptureFixture):
    """
    A deployment under way whose revision cannot be read at the next start is dropped, which
    is logged once, and the previous revision goes on.
    """
    first = served_plane.deploy("held")
    second = served_plane.deploy("held", function=wait_for_ever, attach=False)
    restart_with(served_plane, second, b"virtualenv", b"virtuality")
    told = [each.getMessage() for each in caplog.records if second in each.getMessage()]
    assert len(told) == 1
    assert "does not take over owner/held: deploy it again." in told[0]
    assert "no environments of kind 'virtuality'" in told[0]
    served_plane.restart()
    told = [each.getMessage() for each in caplog.records if second in each.getMessage()]
    assert len(told) == 1
    application = served_plane.plane.plane.catalog.find("owner", "held")
    assert (application.revision, application.takeover) == (first, None)
    assert ask(served_plane, "held").status_code == 200
