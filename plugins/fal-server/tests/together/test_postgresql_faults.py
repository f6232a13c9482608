"""
PostgreSQL is gone while a server runs: what was accepted waits, and nothing is lost.

It is gone for two seconds by default; FAL_CORE_FAULTS=all makes it thirty.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.faults

SECONDS = 30.0 if os.environ.get("FAL_CORE_FAULTS") == "all" else 2.0


@pytest.fixture(scope="module")
def standing_on_postgresql(
    postgresql: Any, served: Any, planes: Any, programs: Any, settle: Any, tmp_path_factory: Any
) -> Iterator[Any]:
    """A control plane whose state is in PostgreSQL, with an application."""
    root: Path = tmp_path_factory.mktemp("on-postgresql")
    (root / "folder").mkdir()
    url = postgresql.make_empty()
    standing = served.ServedPlane(
        root / "folder", lambda: planes.Plane(root / "data", database=url)
    )
    standing.deploy("app")
    yield standing
    database = standing.plane.settings.database
    standing.plane.close()

    def end() -> bool:
        try:
            programs.end_runners(root / "data", database=database)
        except AssertionError as error:
            if "The runners belong to servers" not in str(error):
                raise
            return False
        return True

    # Where it could not say that it has ended, it is forgotten after a while.
    settle(end)


@contextlib.contextmanager
def gone(postgresql: Any, kind: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """End PostgreSQL, and start it again."""
    postgresql.stop(kind)
    try:
        yield
    finally:
        postgresql.start()


def test_what_is_sent_while_it_is_gone(postgresql: Any, standing_on_postgresql: Any):
    """
    Requests that are sent while PostgreSQL is gone are accepted once it is back, and a
    response of that time is kept: the application is not called again.
    """
    served_plane = standing_on_postgresql
    held = served_plane.submit("app/hold", {"gate": "gone", "name": "gone"})
    served_plane.begin("app", held)
    sent: list[str] = []

    def submit(number: int) -> None:
        sent.append(served_plane.submit("app", {"name": f"sent {number}"}))

    senders = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    with gone(postgresql, signal.SIGQUIT):
        for thread in senders:
            thread.start()
        served_plane.open("gone")
        threading.Event().wait(SECONDS)
        assert sent == []
    for thread in senders:
        thread.join()
    assert served_plane.finish("app", held).json() == {"cancelled": False}
    assert served_plane.status("app", held).json()["attempts"] == 1
    for request in sent:
        assert served_plane.finish("app", request).status_code == 200
    for name in ("hold gone", *(f"echo sent {number}" for number in range(4))):
        assert served_plane.order().count(name) == 1


def test_refusals_while_it_is_gone(postgresql: Any, standing_on_postgresql: Any):
    """
    If PostgreSQL stays gone, requests and deployments are refused with that reason, and
    nothing of them is kept.
    """
    served_plane = standing_on_postgresql
    database = served_plane.plane.plane.database
    patience, database.patience = database.patience, 0.2
    sentence = "The database cannot be read or written at present."
    try:
        with gone(postgresql), served_plane.client() as client:
            answer = client.post("/owner/app", json={"name": "refused"})
            assert (answer.status_code, answer.json()["detail"]) == (503, sentence)
            with pytest.raises(grpc.RpcError) as caught:
                served_plane.deploy("refused")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == sentence
    finally:
        database.patience = patience
    request = served_plane.submit("app", {"name": "next"})
    assert served_plane.finish("app", request).status_code == 200
    assert "echo refused" not in served_plane.order()
