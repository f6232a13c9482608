"""
Environments that uv builds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError, UnknownNameError
from fal_env_virtualenv import Virtualenv, records
from fal_env_virtualenv.pythons import _installed, find_python

if TYPE_CHECKING:
    from conftest import Builder, Project

Evaluate = Callable[..., str]


def other_python() -> str | None:
    """
    Return the minor version of a Python of this machine that is not this one.
    """
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    minors = {".".join(version.split(".")[:2]) for version in _installed()} - {mine}
    return max(minors, key=lambda minor: int(minor.split(".")[1])) if minors else None


def test_requirements_are_installed(build: Builder, evaluate: Evaluate, cache: Path) -> None:
    """
    The interpreter imports what was required, from its environment alone.
    """
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


def test_build_is_logged_and_found_again(build: Builder) -> None:
    """
    The builder's lines are logs; an environment that is there logs nothing.
    """
    environment = Virtualenv(requirements=["gamma"])
    first = build(environment)
    assert {(line.level, line.source) for line in build.logs} == {("INFO", "BUILDER")}
    assert all(line.time > 0 for line in build.logs)
    assert " + gamma==3.1" in build.messages
    assert not any("\x1b" in message or "\r" in message for message in build.messages)
    assert build(Virtualenv(requirements=[["gamma"]])) == first
    assert build.logs == []


def test_empty_environment(build: Builder, evaluate: Evaluate) -> None:
    """
    No requirements make an environment with nothing in it.
    """
    interpreter = build(Virtualenv())
    assert (
        evaluate(interpreter, "importlib.util.find_spec('attrs')", "importlib.util") == "None"
    )
    assert any(message.endswith(" without requirements") for message in build.messages)


def test_scripts_and_modules_work_where_the_environment_ends_up(build: Builder) -> None:
    """
    Entry points and ``python -m`` name no place the environment was built in.
    """
    interpreter = build(Virtualenv(requirements=["gamma"], compile_bytecode=True))
    programs = Path(interpreter.executable).parent
    code = "import gamma; gamma.main()"
    for command in ([f"{programs}/gamma"], [f"{programs}/python3", "-c", code]):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert answer.stdout == "gamma 3.1\n"
    command = [interpreter.executable, "-m", "gamma.__init__"]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    for path in programs.parent.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_bytes()
            assert b"/building/" not in content, path
            assert b"/seats/" not in content, path


def test_compile_bytecode(build: Builder) -> None:
    """
    What is installed is compiled where that is asked for, and not otherwise.
    """
    for compiled in (False, True):
        interpreter = build(Virtualenv(requirements=["gamma"], compile_bytecode=compiled))
        library = Path(interpreter.executable).parent.parent / "lib"
        assert bool(list(library.rglob("gamma/__pycache__/*.pyc"))) is compiled


def test_later_layers_change_nothing_of_earlier_ones(
    build: Builder, evaluate: Evaluate
) -> None:
    """
    A layer is resolved with what the ones before it have installed.
    """
    interpreter = build(Virtualenv(requirements=[["alpha-one<2"], ["alpha-one", "gamma"]]))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    with pytest.raises(EnvironmentBuildError, match=r"alpha-one==2.0|beta") as caught:
        build(Virtualenv(requirements=[["alpha-one"], ["beta"]]))
    assert caught.value.requirement == "beta"


def test_conflicting_requirements(build: Builder) -> None:
    """
    The error has uv's reason and the requirement as written; nothing says it twice.
    """
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
    """
    The error names the requirement, and nothing remains of the build.
    """
    environment = Virtualenv(requirements=layers)
    with pytest.raises(EnvironmentBuildError) as caught:
        build(environment)
    assert caught.value.requirement == "absent-thing"
    assert "absent-thing was not found" in caught.value.reason
    assert not environment.is_built()
    assert list((cache / "building").iterdir()) == []


def test_other_python(build: Builder, evaluate: Evaluate) -> None:
    """
    ``python_version`` chooses another Python of this machine, found once.
    """
    version = other_python()
    if version is None:
        pytest.skip("this machine has one Python alone")
    environment = Virtualenv(requirements=["gamma"], python_version=version)
    interpreter = build(environment)
    assert interpreter.python_version == version
    assert evaluate(interpreter, "sys.version_info[:2]", "sys gamma") == str(
        tuple(int(number) for number in version.split("."))
    )
    assert environment.key != Virtualenv(requirements=["gamma"]).key


def test_python_that_is_not_there(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The error lists the versions that there are, as far as a worker runs on them.
    """
    for version in ("3.9.18", "3.10.13"):
        program = tmp_path / "versions" / version / "bin/python"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    environment = Virtualenv(python_version="3.99")
    with pytest.raises(UnknownNameError, match=r"3\.99") as caught:
        environment.key  # noqa: B018  # it is worked out when asked for
    assert "3.10.13" in caught.value.known
    assert not [version for version in caught.value.known if version.startswith("3.9.")]
    assert ".".join(map(str, sys.version_info[:3])) in caught.value.known


def test_python_of_a_version_manager(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A Python is found in the directory of its version manager; no shim is run to tell.
    """
    other = other_python()
    if other is None:
        pytest.skip("this machine has one Python alone")
    real = find_python(other, str(cache))
    shims, programs = tmp_path / "pyenv/shims", tmp_path / f"pyenv/versions/{real.version}/bin"
    for directory in (shims, programs):
        directory.mkdir(parents=True)
    (programs / "python").symlink_to(real.executable)
    shim = shims / f"python{other}"
    shim.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(shims))
    assert find_python(other, str(tmp_path)) == real
    with pytest.raises(UnknownNameError) as caught:
        find_python("3.2", str(tmp_path))
    assert real.version in caught.value.known
    assert not (tmp_path / "was-run").exists()


def test_local_project(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """
    A local project is built again once its sources have changed.
    """
    environment = Virtualenv(requirements=[str(project.path)])
    assert evaluate(build(environment), "demo.value, gamma.version", "demo gamma") == "1 3.1"
    project.write("value = 2000\n")
    assert not environment.is_built()
    assert evaluate(build(environment), "demo.value", "demo") == "2000"


def test_local_project_in_a_file(
    build: Builder, evaluate: Evaluate, project: Project, tmp_path: Path
) -> None:
    """
    A project that a requirements file names is as fresh as one that is declared.
    """
    path = tmp_path / "requirements.txt"
    path.write_text("./demo\n")
    environment = Virtualenv(requirements=[str(path)])
    assert evaluate(build(environment), "demo.value", "demo") == "1"
    project.write("value = 2\n")
    assert evaluate(build(environment), "demo.value", "demo") == "2"


def test_editable_project(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """
    The sources of an editable project are read in place.
    """
    environment = Virtualenv(requirements=[f"-e {project.path}"])
    interpreter = build(environment)
    project.write("value = 'edited'\n")
    assert environment.is_built()
    assert evaluate(interpreter, "demo.value", "demo") == "edited"


def test_requirements_file(build: Builder, evaluate: Evaluate, tmp_path: Path) -> None:
    """
    A file of requirements is read with its own syntax; its failures name it.
    """
    path = tmp_path / "requirements.txt"
    path.write_text("# two\ngamma\nalpha-one < 2  # old\n")
    interpreter = build(Virtualenv(requirements=[str(path)]))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one gamma") == "1.0"
    path.write_text("gamma\nabsent-thing\n")
    with pytest.raises(EnvironmentBuildError, match="absent-thing was not found") as caught:
        build(Virtualenv(requirements=["alpha-one", f"-r {path}"]))
    assert caught.value.requirement == f"-r {path}"


def test_dependencies_of_a_project(
    build: Builder, evaluate: Evaluate, project: Project
) -> None:
    """
    A ``pyproject.toml`` brings what the project needs, and not the project.
    """
    interpreter = build(Virtualenv(requirements=[str(project.path / "pyproject.toml")]))
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"
    assert evaluate(interpreter, "importlib.util.find_spec('demo')", "importlib.util") == "None"


def test_repository(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """
    A repository is pinned to its commit, and a lost environment built from that.
    """
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


def test_force_resolves_anew_once(
    build: Builder,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_wheel: Callable[..., Path],
) -> None:
    """
    What was resolved stays until ``force``; the forced one is then found by all.
    """
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
    """
    A directory that is lost or damaged is built as it was first resolved.
    """
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
        records.MARKER,
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
    """
    Where what was resolved cannot be had any more, ``force`` is the way on.
    """
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


def test_constraints_and_tags(build: Builder, evaluate: Evaluate, tmp_path: Path) -> None:
    """
    A file of constraints limits versions and installs nothing.
    """
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("alpha-one<2\ngamma<3\n")
    interpreter = build(Virtualenv(requirements=["alpha-one"], constraints_file=constraints))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    assert (
        evaluate(interpreter, "importlib.util.find_spec('gamma')", "importlib.util") == "None"
    )


def test_variables_of_the_caller_do_not_leak_in(
    build: Builder, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Another environment that the caller has activated changes nothing.
    """
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("UV_SYSTEM_PYTHON", "1")
    interpreter = build(Virtualenv(requirements=["gamma"]))
    monkeypatch.delenv("PYTHONHOME")
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"


def test_credentials_are_masked_everywhere(
    build: Builder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Passwords are in no log, no error and no file.
    """
    requirement = "tool @ http://user:hunter2@127.0.0.1:9/tool-1.0-py3-none-any.whl"
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Virtualenv(requirements=[requirement]))
    assert caught.value.requirement == requirement.replace("user:hunter2", "***")
    for text in (str(caught.value), *build.messages):
        assert "hunter2" not in text
    for path in cache.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_uv_that_is_not_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    The error says how to get uv.
    """
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentBuildError, match="pip install uv"):
        Virtualenv(requirements=["gamma"]).build(lambda line: None, Event())


def test_packages_of_the_index(
    build: Builder, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Packages come from the index where nothing else is said.
    """
    for name in ("UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    interpreter = build(Virtualenv(requirements=["six", "iniconfig"]))
    assert evaluate(interpreter, "six.__name__", "six iniconfig") == "six"


def test_interpreter_starts_by_its_path(build: Builder) -> None:
    """
    The command is the environment's Python, and file descriptors reach it.
    """
    interpreter = build(Virtualenv())
    assert isinstance(interpreter, LocalInterpreter)
    assert interpreter.passes_fds
    assert os.path.isabs(interpreter.command(["-V"]).argv[0])
