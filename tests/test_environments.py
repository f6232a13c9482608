"""Environments: the one of this Python, and the names of requirements."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.environments import THIS_PYTHON, CurrentEnvironment, LocalInterpreter
from fal_core.errors import OptionError
from fal_core.options import canonical_name, requirement_name


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("numpy", "numpy"),
        ("  numpy>=1.2", "numpy"),
        ("Flask_Login==0.6", "flask-login"),
        ("zope.interface", "zope-interface"),
        ("fal[serve,all] @ https://files.test/fal.whl", "fal"),
        ("torch ; python_version > '3.10'", "torch"),
        ("torch~=2.0,!=2.1", "torch"),
        ("git+https://git.test/owner/project.git@main#egg=Some.Project", "some-project"),
        ("https://files.test/a-1.0.tar.gz#sha256=abc&egg=a_b", "a-b"),
        ("git+https://git.test/owner/project.git", ""),
        ("https://files.test/six.whl", ""),
        ("./folder", ""),
        ("-r requirements.txt", ""),
        ("folder/six.whl", ""),
        ("", ""),
    ],
)
def test_the_name_of_a_requirement_is_that_of_its_distribution(
    requirement: str, name: str
) -> None:
    """The name is normalised; a file, a folder or an address has one only if it says so."""
    assert requirement_name(requirement) == name


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", fullmatch=True))
def test_all_spellings_of_a_name_are_one(name: str) -> None:
    """A normalised name stays as it is, and stands for all other spellings of it."""
    canonical = canonical_name(name)
    assert canonical_name(canonical) == canonical
    for other in (name.upper(), canonical.replace("-", "_"), canonical.replace("-", "-.-")):
        assert canonical_name(other) == canonical


def test_the_current_environment_is_there() -> None:
    """Nothing is built: its interpreter is this Python, and all of them have one key."""
    environment = CurrentEnvironment()
    assert environment.is_built()
    assert environment.key == CurrentEnvironment().key
    assert environment.stamp() is None
    interpreter = environment.build(lambda log: None, threading.Event())
    assert interpreter.python_version == THIS_PYTHON
    assert interpreter.command(("-c", "pass")).argv == (sys.executable, "-c", "pass")


def test_the_key_of_the_current_environment_is_that_of_its_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another Python, or another virtual environment of it, has another key."""
    keys = {CurrentEnvironment().key}
    for name in ("executable", "prefix", "version"):
        monkeypatch.setattr(sys, name, "other")
        keys.add(CurrentEnvironment().key)
        monkeypatch.undo()
    assert len(keys) == 4


def test_the_current_environment_has_what_is_installed() -> None:
    """Requirements that are installed, by any spelling, need nothing; the others are named."""
    environment = CurrentEnvironment()
    assert environment.extend(["attrs>=1", "Typing_Extensions", "typing.extensions"]) == (
        environment
    )
    with pytest.raises(OptionError) as caught:
        environment.extend(["attrs", "no-such-thing>=2", "./folder"])
    assert "was asked for 'no-such-thing>=2', './folder'." in str(caught.value)


def test_what_an_uninstaller_has_left_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of a distribution without its metadata is a leftover."""
    folder = tmp_path / "leftover_thing-1.0.dist-info"
    folder.mkdir()
    (folder / "RECORD").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match="leftover-thing"):
        CurrentEnvironment().extend(["leftover-thing"])
    (folder / "METADATA").write_text("Name: leftover-thing\nVersion: 1.0\n")
    assert CurrentEnvironment().extend(["leftover-thing"])


def test_a_local_interpreter_is_started_by_its_path() -> None:
    """The command has the arguments and the variables; what limits a container is ignored."""
    interpreter = LocalInterpreter(sys.executable)
    assert interpreter.channel == "inherited"
    assert interpreter.python_version is None
    program = "import os; print(os.environ['GIVEN'])"
    command = interpreter.command(
        ("-c", program), variables={"GIVEN": "value"}, binds={"/a": "/b"}, ports={1: 2}
    )
    done = subprocess.run(
        command.argv, env={**command.variables}, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "value\n"
    assert command.stop_argv is None


def test_a_local_interpreter_has_variables_of_its_own() -> None:
    """Every process of it sees them, unless the host sets them otherwise."""
    interpreter = LocalInterpreter(sys.executable, variables={"ITS": "own", "BOTH": "own"})
    command = interpreter.command([], variables={"BOTH": "given"})
    assert command.variables == {"ITS": "own", "BOTH": "given"}
    assert hash(interpreter) == hash(LocalInterpreter(sys.executable))


def test_an_installed_python_is_found_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The running Python stands for its own version; of others, the first in ``PATH`` that
    starts and says that it is of that version. One without a GIL is another version.
    """
    assert LocalInterpreter.find(THIS_PYTHON) == LocalInterpreter(sys.executable, THIS_PYTHON)
    assert LocalInterpreter.find("3") == LocalInterpreter(sys.executable, THIS_PYTHON)

    folders = [tmp_path / name for name in ("shim", "liar", "none", "threads", "real")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("PATH", ":".join(map(str, folders)))
    assert LocalInterpreter.find("3.77") is None
    scripts = ("exit 127", "echo 3.9", "", "echo 3.77t", "echo 3.77")
    for folder, script in zip(folders, scripts, strict=True):
        if script:
            (folder / "python3.77").write_text(f"#!/bin/sh\n{script}\n")
            (folder / "python3.77").chmod(0o755)
    found = LocalInterpreter.find("3.77")
    assert found == LocalInterpreter(str(tmp_path / "real" / "python3.77"), "3.77")


def test_an_environment_says_what_it_does_not_share_with_the_caller() -> None:
    """The Python, the files and the network are those of the caller, unless a kind says otherwise."""
    environment = CurrentEnvironment()
    assert not environment.brings_python
    assert not environment.isolates_files
    assert not environment.isolates_network
    assert not environment.joins_networks()
    assert environment.network_problem() == ""
    assert not environment.build(lambda _: None, Event()).joins_networks
