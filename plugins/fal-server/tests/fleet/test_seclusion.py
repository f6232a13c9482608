"""Seclusion: where the sockets of runners are, and which applications may be open."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.abilities import IsolatingHost
from fal_core.environments import CurrentEnvironment, Environment
from fal_server.fleet.seclusion import OpenRunner, Seclusion
from fal_server.specs.runner_specs import RunnerSpec
from fal_testing import InProcessHost


class Isolating(InProcessHost, IsolatingHost):
    """A host that has networks, unless a *problem* is set."""

    problem = ""
    looked_in: threading.Thread | None = None

    def network_problem(self) -> str:
        self.looked_in = threading.current_thread()
        return self.problem


@attrs.frozen(kw_only=True)
class Apart(CurrentEnvironment):
    """
    An environment with a network of its own.

    Attributes:
        joins: Whether a host can make that network.

        problem: Why others reach it.

        files: Whether it has a file system of its own too.
    """

    files: bool = False
    joins: bool = False
    problem: str = ""

    @property
    def isolates_network(self) -> bool:
        return True

    @property
    def isolates_files(self) -> bool:
        return self.files

    def joins_networks(self) -> bool:
        return self.joins

    def network_problem(self) -> str:
        return self.problem


def make_spec(environment: Environment | None = None, **fields: Any) -> RunnerSpec:
    chosen = environment or CurrentEnvironment()
    return RunnerSpec(name="one", owner="me", environment=chosen, application="app", **fields)


@pytest.fixture
def seclusion(tmp_path: Path) -> Seclusion:
    return Seclusion(Isolating(), lambda: tmp_path / "sockets")


def test_application_gets_a_network_for_its_port(seclusion):
    """
    An application with a port has a network of its own, in which that port is its own; one
    that takes a socket needs none.
    """
    assert seclusion.own_network(make_spec()) == (8080,)
    assert seclusion.own_network(make_spec(port=7000)) == (7000,)
    assert seclusion.own_network(make_spec(takes_socket=True)) is None
    seclusion.check(make_spec(), is_public=False)
    assert seclusion.warn(make_spec()) == ""


def test_environment_with_a_network_of_its_own(seclusion):
    """
    No port of the machine leads to a runner whose environment has a network of its own. It is
    refused where others reach that, and the host makes no network for it instead.
    """
    closed, open_ = Apart(), Apart(problem="All reach it.")
    for each in (closed, open_):
        assert seclusion.own_network(make_spec(each)) == (8080,)
        assert seclusion.own_network(make_spec(each), serves=False) == ()
    assert seclusion.own_network(make_spec(), serves=False) is None
    seclusion.check(make_spec(closed), is_public=False)
    seclusion.check(make_spec(open_, takes_socket=True), is_public=False)
    seclusion.check(make_spec(Apart(problem="All reach it.", joins=True)), is_public=False)
    with pytest.raises(OpenRunner, match="All reach it"):
        seclusion.check(make_spec(open_), is_public=False)
    seclusion.host.problem = "There are none."
    with pytest.raises(OpenRunner, match="There are none"):
        seclusion.check(make_spec(Apart(joins=True)), is_public=False)


def test_runner_apart_is_reached_at_its_own_sockets(seclusion, tmp_path):
    """
    A runner that sees nothing of the machine cannot have the server connect to another
    place of it; one that sees all of it is believed.
    """
    own = f"unix:{tmp_path}/sockets/one/run"
    others = ("unix:/run/engine.sock", f"unix:{tmp_path}/sockets/two/run", "http://127.0.0.1:1")
    apart, beside = (
        seclusion.url_check(make_spec(each), "one")
        for each in (Apart(files=True), CurrentEnvironment())
    )
    assert apart(own)
    assert not any(map(apart, (*others, 7, f"{own}/../../two/run")))
    assert all(map(beside, (own, *others)))


def test_machine_is_looked_at_in_a_thread(seclusion):
    """To find out what the machine can do holds up nobody."""
    asyncio.run(seclusion.look())
    assert seclusion.host.looked_in not in (None, threading.current_thread())


def test_machine_without_networks(seclusion):
    """
    Where there are no networks, only public applications may have ports, unless the operator
    allows others.
    """
    seclusion.host.problem = "There are none."
    assert seclusion.own_network(make_spec()) is None
    seclusion.check(make_spec(), is_public=True)
    seclusion.check(make_spec(takes_socket=True), is_public=False)
    attrs.evolve(seclusion, allows_open=True).check(make_spec(), is_public=False)
    with pytest.raises(OpenRunner, match=r"'app', and .+ not public\. There are none\."):
        seclusion.check(make_spec(), is_public=False)
    assert seclusion.warn(make_spec()).endswith("the port of 'app'. There are none.")


def test_runner_apart_that_does_not_reach_the_server(seclusion):
    """
    Whoever deploys an application is told that it does not reach the server, and that others
    reach it.
    """
    assert seclusion.warn(make_spec(Apart(files=True, joins=True))) == ""
    assert "do not reach the server" in seclusion.warn(make_spec(Apart(files=True)))
    told = seclusion.warn(make_spec(Apart(files=True, problem="All reach it.")))
    assert told.startswith("Every local user reaches the port of 'app'. All reach it. ")


def test_host_that_isolates_nothing(tmp_path):
    """Runners of another host are reached at ports, whatever the application could do."""
    seclusion = Seclusion(InProcessHost(), lambda: tmp_path / "sockets")
    assert seclusion.make_folder("one") == ""
    with pytest.raises(OpenRunner, match="Host 'in-process' gives no application"):
        seclusion.check(make_spec(takes_socket=True), is_public=False)


def test_sockets_that_nobody_else_enters(seclusion):
    """The directory of a runner is for its user alone, and leftovers are removed."""
    for name in ("one", "two", "three"):
        folder = Path(seclusion.make_folder(name))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "run").touch()
    seclusion.drop("two")
    seclusion.drop_left({"one"})
    assert [each.name for each in seclusion.make_root().iterdir()] == ["one"]
    seclusion.drop("two")


def test_sockets_whose_directory_is_gone(tmp_path: Path):
    """
    A runner gets sockets in a directory that is made at that time, and not in one that others
    have made in the place of the last.
    """
    roots = iter([tmp_path / "first", tmp_path / "second"])
    seclusion = Seclusion(Isolating(), lambda: next(roots))
    for name in ("first", "second"):
        assert seclusion.make_folder("one") == str(tmp_path / name / "one")
