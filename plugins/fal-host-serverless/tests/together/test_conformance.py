"""The conformance suite on unmodified isolate servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from fal_testing.suite import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def kind() -> str:
    return "virtualenv"


@pytest.fixture(scope="session")
def host_program(address: str) -> str:
    return (
        "from fal_host_serverless import FalServerlessHost\n"
        f"host = FalServerlessHost({address!r})"
    )


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 60.0


@pytest.fixture
def secret(relay: Any) -> Iterator[tuple[str, str]]:
    name, value = "FAL_CORE_LAW_SECRET", f"secret-{os.urandom(8).hex()}"
    relay.secrets[name] = value
    # A law takes the variable away from the caller.
    os.environ[name] = "the caller's own"
    yield name, value
    del relay.secrets[name]
    os.environ.pop(name, None)
