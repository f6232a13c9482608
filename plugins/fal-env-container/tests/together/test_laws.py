"""The laws of kinds of environment, on containers of images that are built."""

from __future__ import annotations

import uuid

import pytest

from fal_env_container import Container, ContainerImage
from fal_testing.kinds import *  # noqa: F403  # every law


@pytest.fixture
def unbuilt(python: str) -> Container:
    return Container(image=ContainerImage(f"FROM {python}\nRUN echo {uuid.uuid4()} > /law\n"))


@pytest.fixture
def unsolvable(python: str) -> Container:
    return Container(image=ContainerImage(f"FROM {python}\nRUN echo broken; exit 4\n"))
