"""Every law of kinds of environment, on the kind that the runner hands in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.environments import Environment
from fal_core.plugins import registered
from fal_testing.kinds import *  # noqa: F403  # every law


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Iterator[type[Any]]:
    """The class of the kind, which functions may name meanwhile."""
    runner: Any = request.config.pluginmanager.get_plugin("law runner")
    with registered(runner.subject):
        [cls] = runner.subject.fal_register_environments()
        yield cls


@pytest.fixture
def unbuilt(kind: type[Any]) -> Environment:
    made: Environment = kind(name=uuid.uuid4().hex)
    return made


@pytest.fixture
def unsolvable(kind: type[Any]) -> Environment:
    made: Environment = kind(name=uuid.uuid4().hex, wants="what there is not")
    return made


@pytest.fixture(scope="session")
def law_timeout(request: pytest.FixtureRequest) -> float:
    runner: Any = request.config.pluginmanager.get_plugin("law runner")
    seconds: float = runner.subject.law_timeout
    return seconds
