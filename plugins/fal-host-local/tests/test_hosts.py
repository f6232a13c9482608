"""The host ``local``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

from fal_core import (
    FalSerializationError,
    Gateway,
    HostClosed,
    HostOptions,
    OptionError,
    function,
)
from fal_core.environments import CurrentEnvironment
from fal_core.explanations.explaining import explain
from fal_testing import InProcessHost
from fal_testing.harness.processes import is_alive, wait_until


def get_pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_a_worker_is_kept_for_the_next_call(host):
    """Calls of one environment and set of options share a warm worker."""
    first = function("current", host=host)(get_pid)
    second = function("current", host=host)(sleep)

    assert first() == first() == second(0)
    assert host.worker_count == 1


def test_other_options_have_other_workers(host):
    """Functions with different options of the host share no worker."""
    plain = function("current", host=host)(get_pid)

    assert plain() != plain.on(keep_alive=5)()


def test_a_local_host_takes_no_address():
    """``local://somewhere`` is refused where it is written."""
    with pytest.raises(OptionError, match="takes no address"):
        function("current", host="local://elsewhere")


@pytest.mark.parametrize(
    "options",
    [
        {"secrets": ["FAL_TEST_NOWHERE"]},
        {"exposed_port": 8123, "health_check_config": {}},
    ],
)
def test_a_call_is_refused_as_it_is_explained(host, monkeypatch, options):
    """
    A call that this machine cannot run is refused before anything is built, with the
    reasons of the explanation.
    """

    def build(*_):
        raise AssertionError("nothing is built")

    monkeypatch.setattr(CurrentEnvironment, "build", build)
    isolated = function("current", host=host, **options)(get_pid)
    (reason,) = explain(isolated).reasons

    with pytest.raises(OptionError) as caught:
        isolated()

    assert str(caught.value) == reason


def test_a_closed_host_takes_no_calls(host):
    """Closing a host ends its workers and refuses calls."""
    isolated = function("current", host=host)(get_pid)
    pid = isolated()

    host.close()

    assert wait_until(lambda: not is_alive(pid), 30)
    with pytest.raises(HostClosed):
        isolated()


def test_a_closed_host_expects_nothing(host):
    """A call on a closed host raises an error that says so, and starts nothing."""
    host.close()
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())

    with pytest.raises(HostClosed):
        function("current", host=host)(get_pid)()


def test_a_function_that_cannot_travel_costs_no_worker_for_long(host):
    """A worker whose call never comes ends as any other that is idle."""
    isolated = function("current", host=host, keep_alive=0)(lambda: thread)
    thread = threading.current_thread()

    with pytest.raises(FalSerializationError):
        isolated()

    assert wait_until(lambda: not host.worker_count, 30)


def test_a_service_that_is_expected_runs_in_the_worker_that_was_started(
    host, monkeypatch: pytest.MonkeyPatch
):
    """Its worker is started once, and is the service's alone."""
    # A busy machine takes longer for what is done meanwhile.
    monkeypatch.setattr("fal_core.pools.pool._EXPECTED", 60.0)
    gateway = Gateway(serve=True)
    elsewhere = function("current", host=InProcessHost())(get_pid)
    call = elsewhere.make_launcher().call(((), {}))
    call = attrs.evolve(call, gateway=gateway)
    host.expect(call.environment, call.host_options, gateway)
    assert host.worker_count == 1

    assert function("current", host=host)(get_pid)() > 0
    assert host.worker_count == 2
    pool = host._pools.take_expected(call)

    assert pool is not None
    assert pool.worker_count == 1
    assert host._pools.take_expected(call) is None
    pool.close()


#: A plugin whose host has the name of this one, and comes first.
OTHER = """
from typing import ClassVar
import attrs
from fal_core.hooks import hookimpl
from fal_core.hosts import Host

fal_core_api = 1

@attrs.define(eq=False, slots=False)
class Place(Host):
    name: ClassVar[str] = "local"

    def launch(self, call, sink):
        raise AssertionError

@hookimpl
def fal_register_hosts():
    return [Place]
"""

LISTING = """
import json
from fal_core.plugins import describe_plugins, find_host
described = [(each.entry.name, each.problem) for each in describe_plugins()]
print(json.dumps([type(find_host("local")).__module__, described]))
"""


@pytest.mark.parametrize("denied", [False, True])
def test_a_plugin_that_claims_the_name_of_this_host(tmp_path: Path, denied: bool):
    """It is broken, and this host works, unless this one is kept out."""
    (tmp_path / "aaa_plugin.py").write_text(OTHER)
    info = tmp_path / "aaa_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: aaa-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fal_core]\naaa = aaa_plugin\n")
    variables = {"PYTHONPATH": str(tmp_path), "FAL_CORE_PLUGINS": "aaa, local"}
    if denied:
        variables["FAL_CORE_PLUGINS_DENY"] = "fal-host-local"
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found, described = json.loads(done.stdout)
    if denied:
        assert found == "aaa_plugin"
        assert described == [["core", ""], ["aaa", ""]]
        return
    assert found == "fal_host_local.hosts"
    core, local, (name, problem) = described
    assert [core, local, name] == [["core", ""], ["local", ""], "aaa"]
    assert "it provides the host 'local', which is that of local (fal-host-local" in problem
