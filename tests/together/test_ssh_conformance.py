"""The conformance suite on the host of the tutorial, behind a real sshd."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_testing.suite import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def host(ssh_server: Any, ssh_example: ModuleType) -> Iterator[Host[..., Any]]:
    host = ssh_example.SshHost(
        ssh_server.address, python=sys.executable, arguments=ssh_server.arguments
    )
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_program(ssh_server: Any, ssh_example: ModuleType) -> str:
    assert ssh_example.__file__ is not None
    folder = str(Path(ssh_example.__file__).parent)
    made = f"SshHost({ssh_server.address!r}, python={sys.executable!r}"
    return (
        f"import sys\nsys.path.insert(0, {folder!r})\nfrom ssh_host import SshHost\n"
        f"host = {made}, arguments={ssh_server.arguments!r})"
    )


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0


@pytest.fixture
def lose_place(ssh_server: Any) -> Callable[[int, str], None]:
    """End the session of a call there, and all that runs in it."""

    def lose(pid: int, hostname: str) -> None:
        for each in ssh_server.session_of(pid):
            # One may have ended with another.
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    return lose
