"""Every law, on the host that the runner hands in."""

from __future__ import annotations

from typing import Any

import pytest
import whole_hosts

from fal_core.hosts import Host
from fal_testing.suite import *  # noqa: F403  # every law

host_program = whole_hosts.host_program
lose_place = whole_hosts.lose_place


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host[..., Any]:
    runner: Any = request.config.pluginmanager.get_plugin("law runner")
    broken: Host[..., Any] = runner.subject
    return broken


@pytest.fixture(scope="session")
def law_timeout() -> float:
    # Short, as some laws are broken by what never comes; long enough for a busy machine.
    return 20.0
