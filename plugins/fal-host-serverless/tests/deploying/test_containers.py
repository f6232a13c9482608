"""Environments that the service makes of an image."""

from __future__ import annotations

from threading import Event
from typing import Any

import attrs
import pytest

from fal_core.errors import EnvironmentBuildError
from fal_host_serverless.deploying.containers import ServiceContainer

IMAGE = {"image": "registry.test/box:1"}


def test_image_without_an_agent_runs_itself():
    """The image's own command serves where no Python code is sent to it."""
    assert ServiceContainer(image={**IMAGE, "use_isolate": False}).runs_itself
    assert not ServiceContainer(image=IMAGE).runs_itself


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"image": "registry.test/box:2"}},
        {"requirements": ["numpy"]},
        {"python_version": "3.12"},
        {"resolver": "uv"},
    ],
)
def test_key_is_of_everything_that_is_declared(changes: dict[str, Any]):
    """Equal declarations have equal keys, and each change makes another one."""
    container = ServiceContainer(image=IMAGE)
    assert container.key == ServiceContainer(image=dict(IMAGE)).key
    assert attrs.evolve(container, **changes).key != container.key


def test_requirements_are_added_to_those_of_the_image():
    """An extended container has both, and the first one is as it was."""
    container = ServiceContainer(image=IMAGE)
    first = container.extend(["numpy"])
    assert first.extend(("cowsay",)).requirements == ["numpy", "cowsay"]
    assert first.requirements == ["numpy"]
    assert container.requirements is None


def test_container_is_not_built_here():
    """The error says who builds it."""
    with pytest.raises(EnvironmentBuildError, match="only the service builds it"):
        ServiceContainer(image=IMAGE).build(lambda _: None, Event())
