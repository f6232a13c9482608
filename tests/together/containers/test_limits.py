"""Limits of containers: the sizes of a machine type, held by the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_engines import LocalEngine, RootlessEngine

from fal_core import OutOfMemory, function
from fal_core.machines import Machine
from fal_host_local import LocalHost
from fal_testing.harness.devices import machine_with

pytestmark = pytest.mark.faults

MB = 1000**2
SMALL = Machine(name="small", cpus=0.5, memory=200 * MB, processes=40)
LARGE = Machine(name="large", memory=300 * MB)
VAGUE = Machine(name="vague")
#: What is said of a type is said once in a process.
UNSAID = Machine(name="unsaid", cpus=0.5, memory=200 * MB, processes=40)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with machine_with(machines=(SMALL, LARGE, VAGUE, UNSAID)):
        yield


def start_many() -> int:
    import threading

    gate = threading.Event()
    started = 0
    try:
        for _ in range(200):
            threading.Thread(target=gate.wait).start()
            started += 1
    except RuntimeError:
        pass
    finally:
        gate.set()
    return started


def test_processes_are_counted(contained: Any):
    """A function has as many processes and threads as its machine type states."""
    assert contained(machine_type="small")(start_many)() < 40
    assert contained(machine_type="vague")(start_many)() == 200


def fill(size: int) -> int:
    data = bytearray(os.urandom(1 << 20)) * (size >> 20)
    return len(data)


@pytest.mark.parametrize("enforce", [False, True])
def test_a_container_that_fills_its_memory_is_named(
    enforce: bool, contained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    The error tells what was used, and the machine type that has more; the next call works,
    and no file is left in the directory of the caller.
    """
    host = LocalHost(enforce=enforce)
    monkeypatch.chdir(tmp_path)
    small = contained(machine_type="small", host=host)(fill)
    assert small(1 << 20) == 1 << 20
    with pytest.raises(OutOfMemory) as caught:
        small(1 << 30)
    assert str(caught.value).endswith(
        "It used 200 MB, and machine type 'small' has 200 MB. The next larger one is 'large', "
        "with 300 MB."
    )
    assert 190 * MB < (caught.value.peak or 0) <= 200 * MB
    assert caught.value.fits == "large"
    assert small(1 << 20) == 1 << 20
    host.close()
    assert list(tmp_path.iterdir()) == []


def test_docker_keeps_limits(docker: LocalHost, capfd: pytest.CaptureFixture[str]):
    """Another engine holds its containers to the same limits, and is named by what says so."""
    twin = docker.enforcing()
    declare = function(
        "container",
        host=twin,
        image="localhost/tests/python:1",
        network="host",
        machine_type="small",
    )
    assert declare(start_many)() < 40
    assert "memory 200 MB (by a cgroup of docker)" in capfd.readouterr().err
    with pytest.raises(OutOfMemory) as caught:
        declare(fill)(1 << 30)
    assert caught.value.fits == "large"
    twin.close()


def test_limits_that_an_engine_keeps_are_said(
    contained: Any, capfd: pytest.CaptureFixture[str]
):
    """
    A host that enforces says that the engine holds the limits; one that does not has nothing
    to say, since they hold as well.
    """
    host = LocalHost(enforce=True)
    assert contained(machine_type="unsaid", host=host)(fill)(1 << 20) == 1 << 20
    host.close()
    assert (
        "Limits of machine type 'unsaid': memory 200 MB (by a cgroup of podman); processors "
        "0.5 (by a cgroup of podman); processes 40 (by a cgroup of podman)."
    ) in capfd.readouterr().err
    assert contained(machine_type="small")(fill)(1 << 20) == 1 << 20
    assert capfd.readouterr().err == ""


PROGRAM = """
import sys
from fal_core import UnsupportedError, function
from fal_core.explanations import explain
from fal_core.machines import Machine
from fal_testing.harness.devices import machine_with
from fal_host_local import LocalHost

def work():
    return "worked"

with machine_with(machines=(Machine(name="small", cpus=1, memory=200_000_000),)):
    # Without the rights of root there may be no other network.
    kind = {"kind": "container", "image": sys.argv[1], "network": "host"}
    declared = function(**kind, machine_type="small")(work)
    shown = {each.name: each for each in explain(declared).options}
    print(shown["machine_type"].why)
    print(declared(), declared())
    twin = LocalHost(enforce=True)
    print(declared.on(twin)())
    twin.close()
    try:
        function(**kind, machine_type="small", on_unsupported="error")(work)()
    except UnsupportedError as error:
        print(error)
"""

IGNORED = (
    "podman ignores limits of memory and processors here: Resource limits are not supported "
    "and ignored on cgroups V1 rootless systems."
)


@pytest.fixture
def rootless(engine: LocalEngine) -> Iterator[RootlessEngine]:
    rootless = RootlessEngine()
    problem = rootless.create()
    if problem:
        rootless.remove()
        pytest.skip(problem)
    yield rootless
    rootless.remove()


def test_limits_that_an_engine_ignores_are_said(
    engine: LocalEngine, rootless: RootlessEngine, image: str
):
    """
    The calls run, and a warning says once which limits do not hold and why; so do ``explain``
    and a host that enforces. ``on_unsupported="error"`` refuses the call.
    """
    archive = rootless.folder / "image.tar"
    engine.run("save", "--quiet", "--output", str(archive), image)
    archive.chmod(0o644)
    program = rootless.folder / "program.py"
    program.write_text(PROGRAM)
    assert rootless.run("podman", "load", "--quiet", "--input", str(archive)).returncode == 0
    done = rootless.run_python(str(program), image)
    assert done.returncode == 0, done.stderr
    explained, called, enforced, refused = done.stdout.splitlines()
    assert explained == IGNORED
    assert (called, enforced) == ("worked worked", "worked")
    assert IGNORED in refused
    warning = f"Host 'local' does not use option 'machine_type' of 'work': {IGNORED}"
    assert done.stderr.count(warning) == 1
    assert (
        "Limits of machine type 'small': memory 200 MB not enforced; processors 1 not "
        f"enforced; processes not enforced, as none are stated. {IGNORED}"
    ) in done.stderr
