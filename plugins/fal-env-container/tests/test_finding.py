"""Which engine is found, and what is said where there is none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from local_engines import LocalEngine

from fal_core.errors import EnvironmentBuildError
from fal_env_container import Container, ContainerImage, finding
from fal_env_container.engines import ENGINE_VARIABLE
from fal_env_container.finding import find_engine

DOCKER = """{"ServerVersion": "27.1", "OSType": "linux", "Architecture": "aarch64",
"Name": "elsewhere", "KernelVersion": "6.1", "SecurityOptions": ["name=rootless"],
"CDISpecDirs": ["/etc/cdi"]}"""


def write_program(folder: Path, name: str, output: str = "", errors: str = "") -> Path:
    """Write a program that prints and, where it has errors, fails."""
    path = folder / name
    code = int(bool(errors))
    path.write_text(
        f"#!/bin/sh\ncat <<'EOF'\n{output}\nEOF\ncat >&2 <<'EOF'\n{errors}\nEOF\n"
        f"echo x >> {folder}/{name}.runs\nexit {code}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def programs(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which engines are looked for."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.delenv(ENGINE_VARIABLE, raising=False)
    for name in list(os.environ):
        if name.startswith(("CONTAINER", "DOCKER_")):
            monkeypatch.delenv(name)
    # The programs above are scripts.
    monkeypatch.setenv("PATH", f"{folder}:{tmp_path / 'shell'}")
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell/cat").symlink_to("/bin/cat")
    return folder


def say(environment: Container) -> str:
    with pytest.raises(EnvironmentBuildError) as caught:
        find_engine()
    assert not environment.is_built()
    assert len(environment.key) > 10
    return str(caught.value)


def test_no_engine(programs: Path, monkeypatch: pytest.MonkeyPatch):
    """Without an engine the error says what to install; keys are made without one."""
    environment = Container(image=ContainerImage("FROM a"))
    assert say(environment).endswith(
        "no container engine is installed. Install Podman or Docker."
    )
    monkeypatch.setenv(ENGINE_VARIABLE, "mine")
    assert say(environment).endswith(
        "FAL_CORE_CONTAINER_ENGINE names 'mine', and there is no such program."
    )


def test_engine_that_is_not_running(programs: Path):
    """An engine that does not answer is named with its reason, in one sentence."""
    write_program(programs, "docker", errors="Cannot connect to the Docker daemon.")
    sentence = "docker is installed, but not running: Cannot connect to the Docker daemon."
    assert say(Container(image="a")).endswith(sentence)


def test_first_engine_that_answers_is_taken(programs: Path, monkeypatch: pytest.MonkeyPatch):
    """One that does not answer is passed over, unless it is the one that is configured."""
    write_program(programs, "podman", errors="Error: cannot connect")
    write_program(programs, "docker", output=DOCKER)
    engine = find_engine()
    assert (engine.name, engine.version, engine.place) == ("docker", "27.1", "elsewhere")
    assert (engine.platform, engine.is_rootless, engine.takes_devices) == (
        "linux/arm64",
        True,
        True,
    )
    assert not engine.passes_descriptors
    monkeypatch.setenv(ENGINE_VARIABLE, "podman")
    assert "podman is installed, but not running: cannot connect." in say(Container(image="a"))
    nerdctl = write_program(programs, "nerdctl", output=DOCKER)
    monkeypatch.setenv(ENGINE_VARIABLE, str(nerdctl))
    assert find_engine().name == "nerdctl"


def test_what_is_no_engine_is_told(programs: Path):
    """A program that describes itself otherwise is named."""
    write_program(programs, "podman", output='{"version": {}}')
    assert "does not describe itself as podman does" in say(Container(image="a"))


def test_descriptions_are_kept(programs: Path):
    """An engine is asked what it is once, by whatever process, until it changes."""
    program = write_program(programs, "docker", output=DOCKER)
    runs = programs / "docker.runs"
    first = find_engine()
    finding.forget()
    assert find_engine() == first
    assert runs.read_text() == "x\n"
    write_program(programs, "docker", output=DOCKER.replace("27.1", "28.0.1"))
    finding.forget()
    assert find_engine().version == "28.0.1"
    assert program.exists()


def test_engines_of_other_settings_are_others(programs: Path, monkeypatch: pytest.MonkeyPatch):
    """What is known of the images of one store is not taken for those of another."""
    write_program(programs, "docker", output=DOCKER)
    first = find_engine()
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    second = find_engine()
    assert first.program == second.program
    assert first != second
    monkeypatch.delenv("DOCKER_CONTEXT")
    assert find_engine() == first


def test_podman_describes_itself(engine: LocalEngine):
    """The engine of these tests passes descriptors."""
    found = find_engine()
    assert (found.name, found.place, found.passes_descriptors) == ("podman", "here", True)
    assert found.platform.startswith("linux/")


def test_podman_may_be_called_docker(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Some systems have a program ``docker`` that runs Podman; it is known by what it says."""
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\nexec podman "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv(ENGINE_VARIABLE, str(program))
    found = find_engine()
    assert (found.name, found.program, found.passes_descriptors) == (
        "podman",
        str(program),
        True,
    )
