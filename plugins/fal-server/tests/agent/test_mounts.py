"""
Data: each account's runners share their own ``/data``, separate from those of other
accounts.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from isolate_proto import controller_pb2 as wire


@pytest.fixture(scope="module", autouse=True)
def _mounting(may_mount):
    if not may_mount:
        pytest.skip("Mounting takes more rights.")


@pytest.fixture(scope="module")
def bob(served_plane):
    return served_plane.plane.add_user("bob")


def leave() -> tuple[list[str], str, int]:
    """Leave a file, and return the files that were there before."""
    import os

    before = sorted(os.listdir("/data"))
    with open("/data/note", "a+") as file:
        file.write(os.environ["FAL_CORE_DATA"])
        file.seek(0)
        return before, file.read(), os.getpid()


def look_around() -> list[str]:
    """Return the accounts whose data is visible, to this process and to a child of it."""
    import os
    import subprocess

    folder, own = os.path.split(os.environ["FAL_CORE_DATA"])
    listed = subprocess.run(["ls", folder], capture_output=True, text=True).stdout.split()
    return [*os.listdir(folder), *listed, own]


def test_data_is_shared_within_an_account(served_plane, bob):
    """
    Files that a runner writes to ``/data`` are there for the next runner of the same
    account, not for those of other accounts, and never in the ``/data`` of the machine.
    """
    there = os.path.exists("/data")
    first = served_plane.run(leave, keep_alive=0)
    theirs = served_plane.run(leave, key=bob, keep_alive=0)
    second = served_plane.run(leave, keep_alive=0)
    own, other = first[1], theirs[1]
    assert own != other
    assert (first[0], theirs[0]) == ([], [])
    assert second[:2] == (["note"], own * 2)
    assert len({first[2], theirs[2], second[2]}) == 3
    assert Path(own, "note").read_text() == own * 2
    assert os.path.exists("/data") == there
    assert not os.path.exists("/data/note")


def test_data_of_other_accounts_is_hidden(served_plane, bob):
    """In the folder that keeps the data of all accounts, a runner sees only that of its own."""
    for key in (None, bob):
        found = served_plane.run(look_around, key=key, keep_alive=0)
        assert len(found) == 3
        assert len({*found}) == 1


def test_application_writes_to_data(served_plane, bob):
    """
    Applications have ``/data`` too, in all their threads: one per owner, kept for the next
    runner.
    """

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import os
        import pathlib
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with open("/data/asked", "a") as file:
                    file.write("x")
                self.send_response(200)
                self.send_header("Content-Length", str(os.path.getsize("/data/asked")))
                self.end_headers()
                self.wfile.write(pathlib.Path("/data/asked").read_bytes())

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    told = {}
    for owner, key in (("owner", served_plane.plane.key), ("bob", bob)):
        served_plane.deploy("keeps", function=serve, key=key)
        with served_plane.client("run", key=key) as client:
            told[owner] = [client.post(f"/{owner}/keeps").text for _ in range(2)]
    assert told == {"owner": ["x", "xx"], "bob": ["x", "xx"]}
    (runner,) = served_plane.plane.plane.catalog.find("owner", "keeps").runners
    served_plane.plane.call("KillRunner", wire.KillRunnerRequest(runner_id=runner.id))
    served_plane.settle(
        lambda: not served_plane.plane.plane.catalog.find("owner", "keeps").runners
    )
    with served_plane.client("run") as client:
        assert client.post("/owner/keeps").text == "xxx"
