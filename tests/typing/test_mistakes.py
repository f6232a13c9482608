"""What type checkers say of mistakes in options, while a plugin of others is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for _needed in ("mypy", "pyright", "fal_serve", "fal_env_virtualenv"):
    pytest.importorskip(_needed)

ROOT = Path(__file__).resolve().parents[2]

PLUGIN = """
from collections.abc import Iterable
from threading import Event
from typing import ClassVar

import attrs

from fal_core import Environment, Interpreter, LogSink, hookimpl

fal_core_api = 1


@attrs.frozen(kw_only=True)
class Theirs(Environment):
    kind: ClassVar[str] = "theirs"
    colour: str = "red"

    @property
    def key(self) -> str:
        return self.colour

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        raise NotImplementedError

    def extend(self, requirements: Iterable[str]) -> "Theirs":
        return self


@hookimpl
def fal_register_environments() -> list[type[Environment]]:
    return [Theirs]
"""

#: Each line with the word ``wrong`` has one mistake, and the others have none.
PROGRAM = """
from their_kinds import Theirs

from fal_core import Executor, function, register_joblib_backend
from fal_core import functoin  # wrong
from fal_serve import App
from fal_serve import Ap  # wrong


@function("virtualenv", requirements=["numpy"], keep_alive=60)
def embed(text: str) -> int:
    return len(text)


def declare() -> None:
    function(Theirs(colour="blue"), keep_alive=60)
    function("theirs", options={"colour": "blue"}, keep_alive=60)
    embed.on(kind=Theirs(colour="blue"), keep_alive=3)
    function("virtualenv", requirments=["numpy"])  # wrong
    function("virtualenv", keep_alive="sixty")  # wrong
    function("theirs", options={}, requirments=["numpy"])  # wrong
    function(Theirs(), requirments=["numpy"])  # wrong
    function(Theirs(color="blue"))  # wrong
    embed.on(keep_aliv=3)  # wrong
    embed.on(keep_alive="sixty")  # wrong
    embed.with_policy(timout=3)  # wrong
    embed.map(["a"], ordred=False)  # wrong
    function("theirs", colour="blue")  # wrong
    Executor("theirs", options={"colour": "blue"}, keep_alive=60, max_workers=2)
    Executor("virtualenv", requirments=["numpy"])  # wrong
    Executor("virtualenv", keep_alive="sixty")  # wrong
    Executor("virtualenv", max_concurrency=2)  # wrong
    Executor("virtualenv", setup_function=list)  # wrong
    register_joblib_backend(requirements=["numpy"], host="local", keep_alive=60)
    register_joblib_backend(keep_aliv=3)  # wrong


class Reader(App, kind="virtualenv", requirements=["numpy"], keep_alive=60):
    max_concurrency = 3


class Misspelt(App, keep_aliv=3):  # wrong
    keep_alive = "sixty"  # wrong
"""

WRONG = {
    number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program, where a plugin of others is installed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "their_kinds").mkdir()
    (folder / "their_kinds/__init__.py").write_text(PLUGIN)
    (folder / "their_kinds/py.typed").touch()
    metadata = folder / "their_kinds-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-kinds\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[fal_core]\ntheirs = their_kinds\n")
    (folder / "program.py").write_text(PROGRAM)
    strict = {"typeCheckingMode": "strict", "include": ["program.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(strict))
    return folder


def run(folder: Path, *command: str, directory: Path | None = None) -> str:
    """Return what a program prints whose modules are those of *folder* too."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory or folder,
        env={**os.environ, "PYTHONPATH": str(folder), "MYPYPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert not done.stderr.strip(), done.stderr
    return done.stdout


def test_the_plugin_is_installed(folder: Path) -> None:
    """The kind of others is known where the program is checked."""
    look = "from fal_core.plugins import load_plugins; print(*load_plugins().environments)"
    assert "theirs" in run(folder, "-c", look).split()


def test_mypy_refuses_wrong_options_alone(folder: Path) -> None:
    """mypy reports each wrong option, and nothing else."""
    # With the settings of this repository, whose modules it has looked at before.
    program = str(folder / "program.py")
    told = run(folder, "-m", "mypy", "--no-error-summary", program, directory=ROOT)
    errors = [line for line in told.splitlines() if ": error:" in line]
    assert {int(line.split(":")[1]) for line in errors} == WRONG, told
    assert 'did you mean "requirements"?' in told
    assert 'did you mean "keep_alive"?' in told


def test_pyright_refuses_wrong_options_alone(folder: Path) -> None:
    """pyright reports each wrong option, and nothing else."""
    told = run(folder, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable)
    found = json.loads(told)["generalDiagnostics"]
    assert {each["range"]["start"]["line"] + 1 for each in found} == WRONG, told
