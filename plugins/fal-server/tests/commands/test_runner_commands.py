"""``fal-core server end-runners``: how it ends the runners of a server."""

from __future__ import annotations

import json
import subprocess
import sys

from click.testing import CliRunner
from isolate_proto import ListAliasRunnersRequest, RunnerInfo

from fal_core import function
from fal_core.cli.program import cli
from fal_host_local import LocalHost
from fal_server.commands.runner_commands import end_executions


def test_runners_of_a_running_server_are_not_ended(start_program, server):
    """A server that runs keeps its runners, and is named."""
    program = start_program()
    program.wait_until_ready()

    _, errors = server("end-runners", code=1)

    assert f"process {program.process.pid}" in errors
    assert "End it first, and then its runners." in " ".join(errors.split())
    assert "start this one" not in errors


def test_ended_server_names_the_runners_that_go_on(standing):
    """
    A server that ends prints which runners go on, and the command that ends them; the list
    of the user's detached work leaves them out.
    """
    standing.deploy("left", min_concurrency=1)
    standing.settle(lambda: "idle" in _states(standing, "left"))
    program = standing.plane.program

    assert program.end() == 0

    told = program.lines[program.lines.index("# Ready. Ctrl-C ends it.\n") + 1 :]
    data = standing.plane.data
    assert told[0] == f"# 1 runner goes on, for the next server on {data}: left.\n"
    assert told[1] == f"# End them with: fal-core server end-runners --data {data}\n"
    own, everything = _executions(), _executions("--all")
    assert not [each for each in own if each["owner"]]
    theirs = [each for each in everything if each["owner"] == f"The server of {data}"]
    assert [each["ended"] for each in theirs] == [False]


def test_server_ends_its_runners_if_told_to(make_standing, tmp_path):
    """A server that was started with --end-runners ends them when it ends."""
    served = make_standing(tmp_path, "--end-runners")
    served.deploy("gone", min_concurrency=1)
    served.settle(lambda: "idle" in _states(served, "gone"))

    assert served.plane.program.end() == 0

    assert served.plane.program.lines[-1] == "# 1 runner has ended.\n"
    owner = f"The server of {served.plane.data}"
    assert [each["ended"] for each in _executions("--all") if each["owner"] == owner] == [True]


def test_runners_of_another_cache_are_told(make_standing, tmp_path, monkeypatch):
    """
    Runners that were started under another cache directory are not found: the command says
    that they may go on, until it was run where they are.
    """
    served = make_standing(tmp_path)
    served.deploy("elsewhere", min_concurrency=1)
    served.settle(lambda: "idle" in _states(served, "elsewhere"))
    assert served.plane.program.end() == 0
    words = ["server", "end-runners", "--data", str(served.plane.data)]
    with monkeypatch.context() as other:
        other.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
        done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1
    told = " ".join(done.output.split())
    assert "0 runners have ended" in told
    assert "1 runner was started (elsewhere) under another cache directory" in told
    assert "FAL_CORE_CACHE" in told
    for ended in ("1 runner has ended.", "0 runners have ended."):
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, done.output.strip()) == (0, ended)
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    assert CliRunner().invoke(cli, words).exit_code == 0


def _states(served, alias):
    runners = served.plane.call("ListAliasRunners", ListAliasRunnersRequest(alias=alias))
    return [RunnerInfo.State.Name(each.state).lower() for each in runners.runners]


def _executions(*arguments):
    command = [sys.executable, "-m", "fal_core.cli", "executions", "list", "--json"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_directory_without_a_server_is_refused(server):
    """A directory that no server has run on is refused with a message that says so."""
    _, errors = server("end-runners", code=1)

    assert "No server has run on" in errors


def test_only_runners_of_the_server_are_ended(tmp_path):
    """Other executions of the same host, which do not belong to a server, go on."""

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
