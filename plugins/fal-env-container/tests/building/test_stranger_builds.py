"""
Builds of images of strangers by a real engine.
"""

from __future__ import annotations

import os

import attrs
import pytest
from image_builders import ImageBuilder

from fal_core.errors import EnvironmentBuildError


def test_what_a_base_leaves_is_bounded_too(build: ImageBuilder):
    """
    The ``ONBUILD`` of a base gets no more than the Dockerfile of a stranger does.
    """
    base = build(build.declare("ONBUILD RUN --network=host true\n"))
    trusted = build.declare(f"FROM {base.name}\nRUN true\n")
    with pytest.raises(EnvironmentBuildError, match="has 'ONBUILD RUN --network=host true'"):
        build(attrs.evolve(trusted, trusted=False))
    build(trusted)


def test_no_proxy_opens_the_network_of_the_machine(
    build: ImageBuilder, monkeypatch: pytest.MonkeyPatch
):
    """
    Where the caller's proxy is on the loopback of this machine, steps of the caller reach it,
    and those of a stranger have a network of their own all the same.
    """
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    own = os.readlink("/proc/self/ns/net")
    trusted = build.declare("RUN ls -l /proc/self/ns/net\n")
    build(trusted)
    assert own in "".join(build.messages)
    build(attrs.evolve(trusted, trusted=False, force=True))
    assert "net:[" in "".join(build.messages)
    assert own not in "".join(build.messages)
