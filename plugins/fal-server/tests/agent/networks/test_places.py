"""Own ports: applications that listen on one fixed port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import free_port, is_free

needs_networks = pytest.mark.skipif(
    networks.missing() != "", reason="pasta or user namespaces are missing"
)


@pytest.fixture
def port() -> int:
    return free_port()


@needs_networks
def test_servers_of_one_port_have_networks_of_their_own(holder, settle, port):
    """
    Applications with the same fixed port run at once, with several runners each: every
    request is answered by its own application, printed lines are kept, and every runner
    receives its signal to end.
    """
    holder.deploy("own", 1, port=port, max_concurrency=2, grace=300)
    holder.deploy("same", 2, port=port, grace=300)
    held = [holder.hold(name, "own-word") for name in ("own", "own", "same")]
    settle(lambda: holder.in_flight("own") == [1, 1] and holder.in_flight("same") == [1])
    holder.write("own-word")
    answers = [each.result() for each in held]
    assert [each.status_code for each in answers] == [200] * 3
    assert [each.json()["release"] for each in answers] == [1, 1, 2]
    pids = {each.json()["pid"] for each in answers}
    assert len(pids) == 3
    for name in ("own", "same"):
        for runner in holder.runners(name):
            settle(lambda id=runner.runner_id: holder.lines(id))
            (line,) = holder.lines(runner.runner_id)
            assert line in {f"{pid} serves" for pid in pids}
            holder.stop(runner.runner_id)
        settle(lambda name=name: not holder.runners(name))
    assert all(holder.has(f"ended-{pid}") for pid in pids)
    assert holder.ask("same").json()["release"] == 2


@needs_networks
def test_server_that_is_not_up_yet(holder, settle, port):
    """
    Another program at the port of an application that is still starting is not mistaken for
    the application.
    """
    holder.deploy("early", 3, port=port)
    assert holder.ask("early").json()["release"] == 3
    holder.write("starting-4")
    holder.deploy("slow", 4, port=port)
    held = holder.hold("slow", "slow-word")
    holder.write("slow-word")
    settle(lambda: [each.state for each in holder.runners("slow")] == [holder.states.SETUP])
    (runner,) = holder.plane.plane.catalog.find("owner", "slow").runners
    settle(lambda: runner.agent.url is not None)
    # It answers in a network of its own once it does.
    assert not held.done()
    holder.lift("starting-4")
    assert held.result().json()["release"] == 4


@pytest.fixture
def crowded(make_plane, holding, programs, without_networks, tmp_path: Path) -> Iterator[Any]:
    """A client of a plane whose applications share the network of the machine."""
    plane = make_plane(allow_open_runners=True)
    made = holding.Holder(plane, tmp_path)
    yield made
    made.close()
    programs.end_runners(plane.settings.data)


def test_port_that_another_application_has(crowded, port):
    """
    Without separate networks, a request to the second application gets an error that names
    the application at the port, and no answer from that one.
    """
    crowded.deploy("taken", 1, port=port)
    assert crowded.ask("taken").json()["release"] == 1
    (runner,) = crowded.runners("taken")
    crowded.deploy("late", 2, port=port)
    answer = crowded.ask("late")
    assert answer.status_code == 503
    assert f"'taken' (runner-{runner.runner_id})" in answer.json()["detail"]
    assert "fal-core doctor" in answer.json()["detail"]
    assert crowded.ask("taken").json()["release"] == 1


@needs_networks
def test_port_that_another_program_has(holder):
    """
    An application whose port another program has is reached all the same, and that
    program is left alone.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        holder.deploy("beside", 7, port=server.getsockname()[1])
        assert holder.ask("beside").json()["release"] == 7
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@needs_networks
def test_plain_functions_have_networks_of_their_own(holder, holding, settle, port):
    """
    Functions that serve for as long as they run are reached at one port as well, and
    are ended with their runners.
    """
    for name in ("plain", "plainer"):
        holder.deploy(name, port=port, grace=1, function=holding.make_plain_server(port))
        assert holder.get(name).status_code == 204
    for name in ("plain", "plainer"):
        (runner,) = holder.runners(name)
        holder.stop(runner.runner_id)
        settle(lambda name=name: not holder.runners(name))
    assert is_free(port)
