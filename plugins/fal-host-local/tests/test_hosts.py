"""
The host ``local``.
"""

from __future__ import annotations

import os
import threading
import time

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
from fal_core.testing import InProcessHost
from fal_core.testing.harness.processes import is_alive, wait_until


def get_pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_a_worker_is_kept_for_the_next_call(host):
    """
    Calls of one environment and set of options share a warm worker.
    """
    first = function("current", host=host)(get_pid)
    second = function("current", host=host)(sleep)

    assert first() == first() == second(0)
    assert host.worker_count == 1


def test_other_options_have_other_workers(host):
    """
    Functions with different options of the host share no worker.
    """
    plain = function("current", host=host)(get_pid)

    assert plain() != plain.on(keep_alive=5)()


def test_a_local_host_takes_no_address():
    """
    ``local://somewhere`` is refused where it is written.
    """
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
    """
    Closing a host ends its workers and refuses calls.
    """
    isolated = function("current", host=host)(get_pid)
    pid = isolated()

    host.close()

    assert wait_until(lambda: not is_alive(pid), 30)
    with pytest.raises(HostClosed):
        isolated()


def test_a_closed_host_expects_nothing(host):
    """
    A call on a closed host raises an error that says so, and starts nothing.
    """
    host.close()
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())

    with pytest.raises(HostClosed):
        function("current", host=host)(get_pid)()


def test_a_function_that_cannot_travel_costs_no_worker_for_long(host):
    """
    A worker whose call never comes ends as any other that is idle.
    """
    isolated = function("current", host=host, keep_alive=0)(lambda: thread)
    thread = threading.current_thread()

    with pytest.raises(FalSerializationError):
        isolated()

    assert wait_until(lambda: not host.worker_count, 30)


def test_a_service_that_is_expected_runs_in_the_worker_that_was_started(
    host, monkeypatch: pytest.MonkeyPatch
):
    """
    Its worker is started once, and is the service's alone.
    """
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
