"""Every law, on the host and the kind of environment that the runner hands in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_testing.suite import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> Any:
    """What the laws run on."""
    return request.config.pluginmanager.get_plugin("matrix cell")


@pytest.fixture(scope="session")
def host(cell: Any) -> Host[..., Any]:
    found: Host[..., Any] = cell.place.host
    return found


@pytest.fixture(scope="session")
def kind(cell: Any) -> str:
    name: str = cell.kind
    return name


@pytest.fixture(scope="session")
def kind_options(cell: Any) -> dict[str, Any]:
    return dict(cell.options)


@pytest.fixture(scope="session")
def host_program(cell: Any) -> str:
    program: str = cell.place.program
    return program


@pytest.fixture(scope="session")
def host_url(cell: Any) -> str:
    url: str = cell.place.url
    return url


@pytest.fixture(scope="session")
def law_timeout(cell: Any) -> float:
    seconds: float = cell.place.law_timeout
    return seconds


@pytest.fixture
def secret(cell: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    with cell.place.secret(monkeypatch) as made:
        yield made
