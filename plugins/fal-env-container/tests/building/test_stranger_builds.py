"""Builds of images of strangers by a real engine."""

from __future__ import annotations

import os

import attrs
import pytest
from image_builders import ImageBuilder

from fal_core.errors import EnvironmentBuildError
from fal_env_container import Container


def test_what_a_base_leaves_is_bounded_too(build: ImageBuilder):
    """The ``ONBUILD`` of a base gets no more than the Dockerfile of a stranger does."""
    base = build(build.declare("ONBUILD RUN --network=host true\n"))
    build.engine.run("tag", base.id, "localhost/tests/left:1")
    trusted = build.declare("FROM localhost/tests/left:1\nRUN true\n")
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


def test_tenants_share_no_build(build: ImageBuilder):
    """
    Neither an image nor a step of it that one has built, with a secret that is in no key, is
    what another is given. Each has what it has built itself.
    """
    text = (
        "RUN --mount=type=secret,id=token cat /run/secrets/token > /token\n"
        "FROM {base}\nCOPY --from=0 /token /token\n"
    )

    def declare(tenant: str, secret: str, more: str = "") -> Container:
        whole = f"FROM {build.base}\n{text.format(base=build.base)}{more}"
        declared = build.declare(whole, secrets={"token": secret})
        return attrs.evolve(declared, trusted=False, tenant=tenant)

    first = build(declare("one", "of one"))
    second = build(declare("two", "of two"))
    assert build.read(first, "cat", "/token") == "of one"
    assert build.read(second, "cat", "/token") == "of two"
    assert build(declare("one", "of one")) == first
    assert declare("one", "x").key != declare("two", "x").key
    # Its steps are kept for its own next image.
    build(declare("two", "of two", "RUN true\n"))
    assert any("Using cache" in message for message in build.messages)
    marks = [line for line in build.messages if "FAL_CORE_TENANT" in line]
    assert not marks


def test_steps_have_the_numbers_that_their_author_counts(build: ImageBuilder):
    """What is added to the builds of a tenant is told neither in its steps nor in its errors."""
    declared = build.declare("RUN true\nRUN cat /nowhere\n")
    with pytest.raises(EnvironmentBuildError, match=r"step 3 of 3, 'RUN cat /nowhere'"):
        build(attrs.evolve(declared, trusted=False, tenant="one"))


def test_caches_of_steps_are_those_of_one_build(build: ImageBuilder):
    """What a step keeps with ``--mount=type=cache`` reaches no step of another build."""
    mount = "RUN --mount=type=cache,target=/kept,id=same"
    build(attrs.evolve(build.declare(f"{mount} echo mine > /kept/x\n"), trusted=False))
    declared = build.declare(f"{mount} ls -a /kept > /seen\n")
    seen = build.read(build(attrs.evolve(declared, trusted=False)), "cat", "/seen")
    assert seen.split() == [".", ".."]


def test_steps_leave_memory_to_others(build: ImageBuilder):
    """A step of a stranger does not get all the memory of the machine."""
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    declared = build.declare(f"RUN cat {files} > /limit 2> /dev/null || true\n")
    image = build(attrs.evolve(declared, trusted=False))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert int(build.read(image, "cat", "/limit")) <= total * 3 // 4
