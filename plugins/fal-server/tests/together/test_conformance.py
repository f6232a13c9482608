"""
The conformance suite on a control plane of this project, by the serverless host.

A seeded part of the laws runs by default; FAL_CORE_LAWS=all runs them all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_env_virtualenv")

from fal_host_serverless import FalServerlessHost
from fal_testing.harness.capabilities import missing_capabilities
from fal_testing.suite import *  # noqa: F403  # every law

pytestmark = pytest.mark.faults

#: How many of the laws run where not all are to.
_PART = 12

if "all" not in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS")):
    _laws = sorted(name for name in globals() if name.startswith("test_"))
    # What a host does not declare is skipped, and would take the place of a law that runs.
    _running = [
        name for name in _laws if not missing_capabilities(globals()[name], FalServerlessHost)
    ]
    for _name in set(_laws) - {*random.Random(0).sample(_running, _PART)}:
        del globals()[_name]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, launch_program: Any) -> Iterator[Any]:
    """A server in a process of its own."""
    program = launch_program(tmp_path_factory.mktemp("lawful") / "data")
    program.variables = program.wait_until_ready()
    yield program
    told = program.errors.read_text()
    assert program.end() == 0, told
    assert "Traceback" not in told, told


@pytest.fixture(scope="module", autouse=True)
def _pointed(server: Any) -> Iterator[None]:
    """The variables that the server prints, for as long as the laws run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def host(server: Any) -> Any:
    """The host, connected to the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAL_KEY", server.variables["FAL_KEY"])
        return FalServerlessHost(server.variables["FAL_GRPC_HOST"])


@pytest.fixture(scope="session")
def kind() -> str:
    return "virtualenv"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 60.0


@pytest.fixture
def secret(host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A secret of the account, which is not a variable of this process."""
    from fal_host_serverless import SyncServerlessClient

    name, value = "FAL_CORE_LAW_SECRET", f"secret-{os.urandom(8).hex()}"
    client = SyncServerlessClient(host=host.url)
    client.secrets.set(name, value, default_exposed=False)
    # A law takes the variable away from the caller.
    monkeypatch.setenv(name, "the caller's own")
    yield name, value
    client.secrets.unset(name)
