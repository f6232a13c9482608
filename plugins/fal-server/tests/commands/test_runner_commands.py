"""
``fal-core server end-runners``: how it ends the runners of a server.
"""

from __future__ import annotations

import signal

from fal_core import function
from fal_host_local import LocalHost
from fal_server.commands.runner_commands import end_executions


def test_runners_of_a_running_server_are_not_ended(start_program, server):
    """
    A server that runs keeps its runners, and is named.
    """
    program = start_program()
    program.wait_until_ready()

    _, errors = server("end-runners", code=1)

    assert f"process {program.process.pid}" in errors
    assert "End it first, and then its runners." in " ".join(errors.split())
    assert "start this one" not in errors


def test_sockets_of_a_killed_server_are_removed(start_program, server, shallow, monkeypatch):
    """
    Nothing of a server is left among the temporary files once its runners were ended.
    """
    monkeypatch.setenv("TMPDIR", str(shallow))
    program = start_program()
    program.wait_until_ready()
    program.end(signal.SIGKILL)
    assert [*shallow.iterdir()]

    server("end-runners")

    assert not [*shallow.iterdir()]


def test_directory_without_a_server_is_refused(server):
    """
    A directory that no server has run on is refused with a message that says so.
    """
    _, errors = server("end-runners", code=1)

    assert "No server has run on" in errors


def test_only_runners_of_the_server_are_ended(tmp_path):
    """
    Other executions of the same host, which do not belong to a server, go on.
    """

    def wait() -> None:
        import time

        time.sleep(600)

    detached = function("current", host="local", lifetime="detached")(wait)
    theirs, other = detached.spawn(), detached.spawn()
    host = LocalHost()
    try:
        assert end_executions(host, {theirs.reference, "unknown"}) == (1, ())
        ended = {each.reference: each.ended for each in host.executions()}
        assert (ended[theirs.reference], ended[other.reference]) == (True, False)
        assert end_executions(host, {theirs.reference}) == (0, ())
    finally:
        end_executions(host, {other.reference})
        host.close()
