"""Lock files that are read, and those that are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.environments import THIS_PYTHON
from fal_core.errors import OptionError
from fal_env_conda import Conda
from fal_env_conda.declaring.lock_files import read_lock
from fal_env_conda.rattling.platforms import subdir

_LOCK = """\
version: {version}
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      {platform}:
      - conda: https://conda.anaconda.org/conda-forge/{platform}/python-{python}.4-0.conda
packages: []
"""


def _text(version: int = 7, python: str = THIS_PYTHON) -> str:
    return _LOCK.format(version=version, platform=subdir(), python=python)


@pytest.mark.parametrize("version", [6, 7])
def test_versions_that_are_read(version: int, tmp_path: Path) -> None:
    """The Python of a lock is known before anything is built."""
    path = tmp_path / "pixi.lock"
    path.write_text(_text(version, "3.12"))
    environment = Conda(env_yml=path)
    assert environment.python_version == "3.12"
    assert Conda(env_yml_str=_text(version, "3.12")).python_version == "3.12"


def test_python_is_that_of_the_default_environment() -> None:
    """pixi writes several environments into a lock."""
    before, environment = _text(python="3.12").split("  default:\n")
    text = f"{before}  base:\n{environment.replace('3.12', '3.10')}"
    text = text.replace("packages: []\n", f"  default:\n{environment}")
    assert Conda(env_yml_str=text).python_version == "3.12"


def test_packages_of_anaconda_in_a_lock_are_refused() -> None:
    """The licence is the same."""
    text = _text().replace("conda.anaconda.org/conda-forge", "repo.anaconda.com/pkgs/main")
    with pytest.raises(OptionError, match=r"'https://repo\.anaconda\.com/pkgs/main/.*licence"):
        Conda(env_yml_str=text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_text(4), "is a lock of version 4, which is older than those that are read: 6 and 7"),
        (_text(5), "is a lock of version 5, which is older"),
        (_text(8), "is a lock of version 8, which is newer"),
        ("version: 1\nmetadata: {}\npackage: []\n", "is a lock of conda-lock"),
        ("# platform: linux-64\n@EXPLICIT\nhttps://host/a.conda\n", "is an explicit list"),
    ],
)
def test_others_are_refused_by_name(text: str, says: str, tmp_path: Path) -> None:
    """The error says what the file is, and what to do."""
    path = tmp_path / "some.lock"
    path.write_text(text)
    with pytest.raises(OptionError, match=says) as caught:
        Conda(env_yml=path)
    assert str(caught.value).startswith(f"The file {path}")


def test_what_says_no_version_is_no_lock() -> None:
    """It may be an environment file."""
    assert read_lock("dependencies: []\n", where="It") is None
    assert read_lock("version: 3\nname: x\n", where="It") is None


def test_paths_of_a_lock_are_below_its_folder() -> None:
    """A local project is found wherever the program was started."""
    lock = read_lock(_text() + "- pypi: ./project\n- pypi: https://host/a.whl\n", where="It")
    assert lock is not None
    text = lock.below("/work").text
    assert "- pypi: /work/project\n" in text
    assert "- pypi: https://host/a.whl\n" in text


def test_options_beside_a_lock(tmp_path: Path) -> None:
    """Requirements may be added to a lock; channels and another Python contradict it."""
    assert Conda(env_yml_str=_text(), pip=["six"]).pip == ("six",)
    with pytest.raises(OptionError, match="'channels' has no effect on a lock"):
        Conda(env_yml_str=_text(), channels=["conda-forge"])
    with pytest.raises(OptionError, match=r"asks for Python 3\.10, and the lock has 3\.12"):
        Conda(env_yml_str=_text(python="3.12"), python_version="3.10")
    with pytest.raises(OptionError, match=r"a worker needs 3\.10"):
        Conda(env_yml_str=_text(python="3.9"))
