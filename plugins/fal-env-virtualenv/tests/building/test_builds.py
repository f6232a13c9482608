"""Builds of environments: their triggers, locks and sources."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_env_virtualenv import Virtualenv
from fal_testing.harness.processes import wait_until

if TYPE_CHECKING:
    from conftest import Builder, Evaluate, Project


def test_local_project(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """A local project is built again once its sources have changed."""
    environment = Virtualenv(requirements=[str(project.path)])
    assert evaluate(build(environment), "demo.value, gamma.version", "demo gamma") == "1 3.1"
    project.write("value = 2000\n")
    assert not environment.is_built()
    assert evaluate(build(environment), "demo.value", "demo") == "2000"


def test_force_resolves_anew_once(
    build: Builder,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_wheel: Callable[..., Path],
) -> None:
    """Versions stay as they were resolved until ``force``; its result then serves everyone."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    make_wheel(links, "delta", "1.0")
    plain = Virtualenv(requirements=["delta"])
    assert evaluate(build(plain), "delta.version", "delta") == "1.0"
    make_wheel(links, "delta", "2.0")
    assert evaluate(build(plain), "delta.version", "delta") == "1.0"
    forced = Virtualenv(requirements=["delta"], force=True)
    assert not forced.is_built()
    interpreter = build(forced)
    assert evaluate(interpreter, "delta.version", "delta") == "2.0"
    assert forced.is_built()
    assert build(forced) == build(plain) == interpreter
    assert build.logs == []


def test_lost_environment_is_built_from_its_pins(
    build: Builder,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_wheel: Callable[..., Path],
) -> None:
    """An environment that is lost or damaged is built again from the versions of the first build."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    make_wheel(links, "delta", "1.0")
    environment = Virtualenv(requirements=["delta"])
    interpreter = build(environment)
    make_wheel(links, "delta", "2.0")
    path = Path(interpreter.executable).parent.parent
    for damage in (
        "",
        ".fal-core-complete",
        "bin/python",
        "lib/python*/site-packages/delta-1.0.dist-info",
    ):
        subprocess.run(f"rm -r {path}/{damage}", shell=True, check=True, timeout=60)
        assert not environment.is_built()
        assert build(environment) == interpreter
        assert evaluate(interpreter, "delta.version", "delta") == "1.0"
        assert any("must be built again" in message for message in build.messages)


def test_pins_that_are_gone(
    build: Builder,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_wheel: Callable[..., Path],
) -> None:
    """If the pins cannot be installed any more, the error suggests ``force``."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    wheel = make_wheel(links, "delta", "1.0")
    environment = Virtualenv(requirements=["delta"])
    Path(build(environment).executable).unlink()
    wheel.unlink()
    shutil.rmtree(tmp_path / "uv")
    make_wheel(links, "delta", "2.0")
    with pytest.raises(EnvironmentBuildError, match="force=True resolves anew") as caught:
        build(environment)
    assert caught.value.requirement == "delta==1.0"
    forced = Virtualenv(requirements=["delta"], force=True)
    assert evaluate(build(forced), "delta.version", "delta") == "2.0"
    assert environment.is_built()


RACE = """
    import sys, threading
    from fal_env_virtualenv import Virtualenv

    found, lines = set(), []
    barrier = threading.Barrier(16)

    def build():
        barrier.wait()
        environment = Virtualenv(requirements=["gamma", "beta"])
        found.add(environment.build(lambda line: lines.append(line.message), threading.Event()))

    threads = [threading.Thread(target=build) for _ in range(16)]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (interpreter,) = found
    print(interpreter.executable)
    print(sum(line.startswith("Building a virtual environment") for line in lines))
"""


@pytest.mark.faults
@pytest.mark.usefixtures("cache")
def test_racing_builders_build_once(run_python: Callable[..., subprocess.Popen[str]]) -> None:
    """An environment that many threads of four processes request at once is built by one of them."""
    processes = [run_python(RACE) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=280)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert len({executable for executable, _ in answers}) == 1
    assert sum(int(built) for _, built in answers) == 1


@pytest.mark.faults
def test_waiting_builder_says_so_and_can_be_cancelled(
    cache: Path, project: Project, started: Path
) -> None:
    """Waiting for another build is logged, and can be cancelled."""
    environment = Virtualenv(requirements=[str(project.path)])
    stop, waiting = threading.Event(), threading.Event()

    def first() -> None:
        with pytest.raises(Cancelled):
            environment.build(lambda line: None, stop)

    builder = threading.Thread(target=first)
    builder.start()
    assert wait_until(started.exists, 60)

    def heard(line: Log) -> None:
        assert line.message.startswith("Waiting for another build")
        waiting.set()

    try:
        with pytest.raises(Cancelled):
            environment.build(heard, waiting)
    finally:
        stop.set()
        builder.join(60)
    assert not builder.is_alive()


def test_repository(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """A repository is pinned to its commit, from which a lost environment is built again."""
    git = ["git", "-C", str(project.path), "-c", "user.name=x", "-c", "user.email=x@x"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True, timeout=60)
    environment = Virtualenv(requirements=[f"demo @ git+file://{project.path}"])
    interpreter = build(environment)
    project.write("value = 2\n")
    subprocess.run([*git, "commit", "-qam", "two"], check=True, timeout=60)
    Path(interpreter.executable).unlink()
    assert not environment.is_built()
    rebuilt = build(environment)
    assert rebuilt == interpreter
    assert evaluate(rebuilt, "demo.value", "demo") == "1"
