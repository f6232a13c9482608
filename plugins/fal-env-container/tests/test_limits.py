"""Limits that engines ignore, as they say it, and as it is found by trying."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_engines import LocalEngine, RootlessEngine

from fal_core.machines import Machine
from fal_env_container import Container, fal_health_checks, finding
from fal_env_container.engines import ENGINE_VARIABLE, Answer
from fal_env_container.finding import find_engine
from fal_env_container.limits import find_held_limits, limit_options, read_ignored

MACHINE = Machine(name="small", memory=1 << 30, cpus=0.5, processes=60)

ALL = {"memory", "cpus", "processes"}
DISCARDED = (
    "Your kernel does not support memory limit capabilities or the cgroup is not mounted."
)


@pytest.mark.parametrize(
    ("code", "line", "limits"),
    [
        (
            127,
            "Resource limits are not supported and ignored on cgroups V1 rootless systems",
            ALL,
        ),
        (127, f"WARNING: {DISCARDED} Limitation discarded.", {"memory"}),
        (
            127,
            "WARNING: Your kernel does not support pids limit capabilities or the cgroup is "
            "not mounted. PIDs limit discarded.",
            {"processes"},
        ),
        (
            126,
            "Error: OCI runtime error: crun: the requested cgroup controller `cpu` is not "
            "available",
            set(),
        ),
        (
            125,
            "Error: OCI runtime error: crun: the requested cgroup controller `cpu` is not "
            "available",
            {"cpus"},
        ),
        (127, "The image platform (linux/arm64) does not match", set()),
        (127, "", set()),
    ],
)
def test_ignored_limits_are_read(code: int, line: str, limits: set[str]):
    """
    A warning that a limit is ignored is kept with the limits that it means, and so is the
    error of an engine that can set none.
    """
    found = read_ignored(Answer(code, "", f"something else\n{line}\n"))
    said = line.removeprefix("WARNING: ").removeprefix("Error: ").rstrip(".")
    assert found == dict.fromkeys(limits, f"{said}.")


def test_limits_that_hold_are_found(engine: LocalEngine):
    """An engine with the rights of root holds containers to all limits; trying leaves nothing."""
    before = engine.images()
    assert find_held_limits(find_engine(), anew=True).ignored == {}
    assert len(list(limit_options(find_engine(), MACHINE))) == 4
    assert (engine.images(), engine.containers()) == (before, set())


@pytest.fixture
def rootless() -> Iterator[RootlessEngine]:
    engine = RootlessEngine()
    problem = engine.create()
    if problem:
        engine.remove()
        pytest.skip(problem)
    yield engine
    engine.remove()


def test_an_engine_that_ignores_limits_is_found_out(
    engine: LocalEngine, rootless: RootlessEngine, monkeypatch: pytest.MonkeyPatch
):
    """
    Podman without the rights of root ignores limits on cgroups of version 1. It is not told
    them, and ``fal-core doctor`` says so.
    """
    monkeypatch.setenv(ENGINE_VARIABLE, str(rootless.program))
    finding.forget()
    held = Container(image="models:1").held_limits()
    assert held is not None
    assert (held.by, set(held.ignored)) == ("podman", ALL)
    reason = "Resource limits are not supported and ignored on cgroups V1 rootless systems."
    assert held.problem(MACHINE) == (
        f"podman ignores limits of memory, processors and processes here: {reason}"
    )
    assert held.problem(Machine(name="vague")) == ""
    assert list(limit_options(find_engine(), MACHINE)) == []
    [check] = fal_health_checks()
    assert f"podman ignores limits of memory, processors and processes here: {reason}" in (
        check.run().message
    )
