"""
The conformance suite on the host of the tutorial, behind a real sshd.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_core.testing.suite import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def host(ssh_server: Any, ssh_example: ModuleType) -> Iterator[Host[..., Any]]:
    host = ssh_example.SshHost(
        ssh_server.address, python=sys.executable, arguments=ssh_server.arguments
    )
    yield host
    host.close()


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0
