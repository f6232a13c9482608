"""Functions and values between Pythons of different minors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fal_testing.pythons import find_other_python

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "tests" / "sealing" / "home.py"

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

#: What no other Python can open soundly; each must be refused, and says why.
REFUSED = {
    "shape: returns_code": "the result of 'returns_code': it holds code of Python",
    "value: lambda": "an argument of 'echo': it holds code of Python",
    "value of the module: odd exception": "an argument of 'echo'",
    "value of the module: instance": "an argument of 'echo'",
    "value of the module: dataclass": "an argument of 'echo'",
    "value of the module: named tuple": "an argument of 'echo'",
    "value of the module: enum": "an argument of 'echo'",
    "value of the module: flag": "an argument of 'echo'",
    "value of the module: lambda": "an argument of 'echo'",
    "value of the module: nested": "an argument of 'echo'",
    "main: dataclass the function does not name": "an argument of 'echo'",
    "no source": "'made' has no source",
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The import path for every Python: fal_core and its dependencies, and nothing else."""
    import attr
    import attrs
    import cloudpickle
    import pluggy

    installed = tmp_path_factory.mktemp("pure") / "site-packages"
    installed.mkdir()
    for module in (attr, attrs, cloudpickle, pluggy):
        folder = Path(str(module.__file__)).parent
        (installed / folder.name).symlink_to(folder)
    return [str(ROOT / "src"), str(installed)]


def outcomes(home: str, worker: str, paths: list[str]) -> dict[str, str]:
    """Return how each shape and value went between two Pythons."""
    command = [home, "-I", str(HOME), worker, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_one_python(paths: list[str]) -> None:
    """At one Python every shape and value gives the right answer."""
    found = outcomes(sys.executable, sys.executable, paths)

    assert found.pop("worker exits") == "0"
    assert {name: how for name, how in found.items() if how != "right"} == {}


@pytest.mark.parametrize("direction", ["there", "back"])
def test_two_pythons(paths: list[str], direction: str) -> None:
    """Between two Pythons each shape gives the right result, or is refused with its reason."""
    pair = (sys.executable, find_other_python().executable)
    found = outcomes(*(pair if direction == "there" else pair[::-1]), paths)

    assert found.pop("worker exits") == "0", "the worker ended by a signal"
    assert sum(name.startswith("shape") for name in found) >= 40
    assert sum(name.startswith("value:") for name in found) >= 20
    wrong = {name: how for name, how in found.items() if how.startswith("wrong")}
    assert wrong == {}
    refused = {name: how for name, how in found.items() if how.startswith("refused")}
    assert refused.keys() == REFUSED.keys()
    for name, reason in REFUSED.items():
        assert reason in refused[name]
        assert "python_version" in refused[name], "the fix"
        assert HERE in refused[name], "the Python that refuses, or that sent it"


MODELS = '''
from __future__ import annotations
import sys
from typing import Literal, Optional
from pydantic import BaseModel, Field, field_validator

LIMIT = 10

class Part(BaseModel):
    """A part."""
    size: int = Field(default=1, gt=0)

class Whole(BaseModel):
    name: str
    parts: list[Part] = []
    inner: Optional[Whole] = None
    mode: Literal["fast", "slow"] = "fast"

    @field_validator("name")
    @classmethod
    def check_name(cls, name):
        if len(name) > LIMIT:
            raise ValueError("too long")
        return name

    def grown(self):
        return Whole(name=self.name + "!", parts=[Part(size=2)], inner=self)

size = Whole(name="field name")

def grow(whole: Whole):
    return whole.grown(), sys.version_info[1]

def fail():
    Whole(name="x" * (LIMIT + 1))

sys.path.insert(0, sys.argv[1])
from home import Worker
worker = Worker(sys.argv[2], sys.argv[3:])
(grown, minor), = worker(grow, (Whole(name="w"),), portable=True)
assert type(grown) is Whole and grown.inner == Whole(name="w"), grown
assert grown.parts == [Part(size=2)]
assert minor != sys.version_info[1]
error, = worker(fail, (), portable=True)
assert "too long" in str(error), repr(error)
worker.close()
'''


def test_pydantic_models_are_made_anew(paths: list[str], tmp_path: Path) -> None:
    """A pydantic model travels as the statement that defines it."""
    pydantic = pytest.importorskip("pydantic")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("There is no uv to give the other Python a pydantic.")
    other = str(tmp_path / "other" / "bin" / "python")
    # The oldest pydantic has no wheel for a newer one.
    python = find_other_python("3.14", "3.13", "3.12", "3.11", "3.10").executable
    subprocess.run([uv, "venv", "-q", "--python", python, tmp_path / "other"], check=True)
    wanted = f"pydantic=={pydantic.VERSION}"
    subprocess.run([uv, "pip", "install", "-q", "--python", other, wanted], check=True)
    script = tmp_path / "models.py"
    script.write_text(MODELS)
    command = [sys.executable, str(script), str(HOME.parent), other, *paths]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
