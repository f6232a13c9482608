"""Installing requirements of each form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_core.events import Log
from fal_env_virtualenv import Virtualenv
from fal_uv.installing.installers import BuildLog

if TYPE_CHECKING:
    from conftest import Builder, Evaluate, Project


def test_build_is_logged_and_found_again(build: Builder) -> None:
    """The lines of uv are logged; an environment that exists logs nothing."""
    environment = Virtualenv(requirements=["gamma"])
    first = build(environment)
    assert {(line.level, line.source) for line in build.logs} == {("INFO", "BUILDER")}
    assert all(line.time > 0 for line in build.logs)
    assert " + gamma==3.1" in build.messages
    assert not any("\x1b" in message or "\r" in message for message in build.messages)
    assert build(Virtualenv(requirements=[["gamma"]])) == first
    assert build.logs == []


def test_lines_become_events() -> None:
    """Warnings of uv have their own level, and credentials are masked."""
    events: list[Log] = []
    log = BuildLog(events.append)
    log.write("warning: https://me:hunter2@host/simple is slow")
    log.write("Resolved 3 packages")
    assert [(event.level, event.message) for event in events] == [
        ("WARNING", "warning: https://***@host/simple is slow"),
        ("INFO", "Resolved 3 packages"),
    ]


def test_requirements_are_installed(build: Builder, evaluate: Evaluate, cache: Path) -> None:
    """The interpreter imports the requirements, from its environment alone."""
    environment = Virtualenv(requirements=["gamma", "alpha-one<2"])
    assert not environment.is_built()
    interpreter = build(environment)
    assert environment.is_built()
    assert (
        evaluate(interpreter, "gamma.version, alpha_one.version", "gamma alpha_one")
        == "3.1 1.0"
    )
    path = Path(interpreter.executable).parent.parent
    assert path.parent == cache
    assert evaluate(interpreter, "sys.prefix", "sys") == str(path)
    assert interpreter.python_version == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_compile_bytecode(build: Builder) -> None:
    """Packages are compiled only if the declaration asks for it."""
    for compiled in (False, True):
        interpreter = build(Virtualenv(requirements=["gamma"], compile_bytecode=compiled))
        library = Path(interpreter.executable).parent.parent / "lib"
        assert bool(list(library.rglob("gamma/__pycache__/*.pyc"))) is compiled


def test_later_layers_change_nothing_of_earlier_ones(
    build: Builder, evaluate: Evaluate
) -> None:
    """A layer is resolved with the versions that earlier layers have installed."""
    interpreter = build(Virtualenv(requirements=[["alpha-one<2"], ["alpha-one", "gamma"]]))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    with pytest.raises(EnvironmentBuildError, match=r"alpha-one==2.0|beta") as caught:
        build(Virtualenv(requirements=[["alpha-one"], ["beta"]]))
    assert caught.value.requirement == "beta"


def test_editable_project(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """The sources of an editable project are read in place."""
    environment = Virtualenv(requirements=[f"-e {project.path}"])
    interpreter = build(environment)
    project.write("value = 'edited'\n")
    assert environment.is_built()
    assert evaluate(interpreter, "demo.value", "demo") == "edited"


def test_requirements_file(build: Builder, evaluate: Evaluate, tmp_path: Path) -> None:
    """A requirements file may use the syntax of such files; an error names the file."""
    path = tmp_path / "requirements.txt"
    path.write_text("# two\ngamma\nalpha-one < 2  # old\n")
    interpreter = build(Virtualenv(requirements=[str(path)]))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one gamma") == "1.0"
    path.write_text("gamma\nabsent-thing\n")
    with pytest.raises(EnvironmentBuildError, match="called 'absent-thing'") as caught:
        build(Virtualenv(requirements=["alpha-one", f"-r {path}"]))
    assert caught.value.requirement == f"-r {path}"


def test_dependencies_of_a_project(
    build: Builder, evaluate: Evaluate, project: Project
) -> None:
    """A ``pyproject.toml`` stands for the dependencies of the project, without the project."""
    interpreter = build(Virtualenv(requirements=[str(project.path / "pyproject.toml")]))
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"
    assert evaluate(interpreter, "importlib.util.find_spec('demo')", "importlib.util") == "None"


def test_constraints_and_tags(build: Builder, evaluate: Evaluate, tmp_path: Path) -> None:
    """A constraints file limits versions and installs nothing."""
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("alpha-one<2\ngamma<3\n")
    interpreter = build(Virtualenv(requirements=["alpha-one"], constraints_file=constraints))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    assert (
        evaluate(interpreter, "importlib.util.find_spec('gamma')", "importlib.util") == "None"
    )


def test_credentials_are_masked_everywhere(
    build: Builder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords are in no log, error or file."""
    requirement = "tool @ http://user:hunter2@127.0.0.1:9/tool-1.0-py3-none-any.whl"
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Virtualenv(requirements=[requirement]))
    assert caught.value.requirement == requirement.replace("user:hunter2", "***")
    for text in (str(caught.value), *build.messages):
        assert "hunter2" not in text
    for path in cache.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_packages_of_the_index(
    build: Builder, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages come from uv's index if nothing names another."""
    for name in ("UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    interpreter = build(Virtualenv(requirements=["six", "iniconfig"]))
    assert evaluate(interpreter, "six.__name__", "six iniconfig") == "six"


def test_variables_of_the_caller_do_not_leak_in(
    build: Builder, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment that the caller has activated changes nothing."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("UV_SYSTEM_PYTHON", "1")
    interpreter = build(Virtualenv(requirements=["gamma"]))
    monkeypatch.delenv("PYTHONHOME")
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"


def test_conflicting_requirements(build: Builder) -> None:
    """The error has uv's reason and the requirement as written, and repeats neither."""
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Virtualenv(requirements=["gamma", "alpha-one >=2", "beta"]))
    error = caught.value
    assert error.kind == "virtualenv"
    assert error.requirement in ("alpha-one >=2", "beta")
    assert "alpha-one>=2" in error.reason
    assert "unsatisfiable" not in error.reason
    assert "\n" not in error.reason
    assert str(error).count(error.reason.rstrip(".")) == 1
    told = "\n".join((str(error), *build.messages))
    assert "No solution found" not in told
    assert told.count("alpha-one>=2") == error.reason.count("alpha-one>=2")


@pytest.mark.parametrize("layers", [["gamma", "absent-thing"], [["gamma"], ["absent-thing"]]])
def test_requirement_that_does_not_exist(
    build: Builder, layers: list[str], cache: Path
) -> None:
    """The error names the requirement, and the directory of the build is removed."""
    environment = Virtualenv(requirements=layers)
    with pytest.raises(EnvironmentBuildError) as caught:
        build(environment)
    assert caught.value.requirement == "absent-thing"
    assert "No package is called 'absent-thing'" in caught.value.reason
    assert not environment.is_built()
    assert list((cache / "building").iterdir()) == []
