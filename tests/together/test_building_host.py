"""The example of a host that builds elsewhere: the conformance suite, behind a real sshd."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import function
from fal_core.hosts import Host
from fal_core.nodes import agent_addresses
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

#: What the example does itself; the rest is that of workers and their pools.
OWN = {"environment", "crash", "cancel", "exits", "places", "serve", "own servers"}

if "all" not in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS")):
    for group in GROUPS.keys() - OWN:
        for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
            globals().pop(law, None)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of the other machine, with a cache of its own."""
    folder = tmp_path_factory.mktemp("there")
    path = folder / "python"
    # It reaches the index by the certificates and proxies of this one.
    known = ("SSL_", "UV_", "PIP_", "HTTP_", "HTTPS_", "NO_PROXY", "REQUESTS_", "CURL_")
    variables = {k: v for k, v in os.environ.items() if k.upper().startswith(known)}
    variables["FAL_CORE_CACHE"] = f"{folder}/cache"
    words = ["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def host(
    ssh_server: Any, building_example: ModuleType, python: Path
) -> Iterator[Host[..., Any]]:
    with pytest.MonkeyPatch.context() as patch:
        # As from another machine.
        patch.setattr(agent_addresses, "connect_locally", lambda name: None)
        host = building_example.BuildingHost(
            ssh_server.address, python=str(python), arguments=ssh_server.arguments
        )
        yield host
        host.close()


@pytest.fixture(scope="session")
def kind() -> str:
    return "virtualenv"


@pytest.fixture(scope="session")
def host_program(ssh_server: Any, building_example: ModuleType, python: Path) -> str:
    assert building_example.__file__ is not None
    folder = str(Path(building_example.__file__).parent)
    made = f"BuildingHost({ssh_server.address!r}, python={str(python)!r}"
    return (
        f"import sys\nsys.path.insert(0, {folder!r})\n"
        "from building_host import BuildingHost\n"
        f"host = {made}, arguments={ssh_server.arguments!r})"
    )


@pytest.fixture
def lose_place(ssh_server: Any) -> Callable[[int, str], None]:
    """End the session of the agent there, and all that runs in it."""

    def lose(pid: int, hostname: str) -> None:
        for each in ssh_server.session_of(pid):
            os.kill(each, signal.SIGKILL)

    return lose


def test_an_environment_is_built_there_once(host: Host[..., Any], python: Path) -> None:
    """The environment is in the cache of the other machine, and so is the code that has built it."""

    @function("virtualenv", host=host)
    def find_prefix() -> str:
        return sys.prefix

    first, second = find_prefix(), find_prefix.on(keep_alive=31)()
    assert first == second
    assert first.startswith(str(python.parent / "cache"))
    codes = list((python.parent / "cache" / "nodes" / "code").iterdir())
    assert codes
    assert all((code / "fal_core").is_dir() for code in codes)
