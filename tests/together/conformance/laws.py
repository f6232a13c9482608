"""
Every law, on the host that the runner hands in.
"""

from __future__ import annotations

from typing import Any

import pytest

from fal_core.hosts import Host
from fal_core.testing.suite import *  # noqa: F403  # every law

#: Makes the host of another program, where the broken one says nothing else.
_LOCAL = "from fal_host_local import LocalHost\nhost = LocalHost()"


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host[..., Any]:
    runner: Any = request.config.pluginmanager.get_plugin("law runner")
    broken: Host[..., Any] = runner.host
    return broken


@pytest.fixture(scope="session")
def host_program(host: Host[..., Any]) -> str:
    made: str = getattr(host, "program", _LOCAL)
    return made


@pytest.fixture(scope="session")
def law_timeout() -> float:
    # Short, as some laws are broken by what never comes; long enough for a busy machine.
    return 20.0
