"""The options of the kind ``virtualenv``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fal_env_virtualenv
from fal_core import function
from fal_core.declaring import structure_environment
from fal_core.errors import OptionError
from fal_core.options import Options
from fal_env_virtualenv.kinds import Virtualenv
from fal_testing import InProcessHost

if TYPE_CHECKING:
    from conftest import Builder, Evaluate


def test_repr_holds_no_credentials() -> None:
    """The representation of a declaration masks credentials."""
    environment = Virtualenv(
        requirements=["tool @ git+https://ghp_secret@host/tool.git"],
        extra_index_urls=["https://user:hunter2@host/simple"],
    )
    assert "secret" not in repr(environment)
    assert "hunter2" not in repr(environment)


def test_key_starts_no_process_and_imports_little() -> None:
    """Finding an environment that is built starts no process and imports no heavy module."""
    script = (
        "import sys, attrs, fal_core.environments\n"
        "before = set(sys.modules)\n"
        "from fal_env_virtualenv import Virtualenv\n"
        "environment = Virtualenv(requirements=['six'])\n"
        "environment.key, environment.is_built()\n"
        "heavy = {'subprocess', 'shutil', 'tempfile', 'click', 'asyncio', 'selectors',"
        " 'importlib.metadata', 'pathlib', 'urllib', 'uv', 'cattrs'}\n"
        "print(sorted(heavy & set(sys.modules) - before))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resolver": "poetry"}, "'resolver' must be 'uv' or 'pip'"),
        ({"constraints_file": "/nowhere/constraints.txt"}, "there is no such file"),
        ({"tags": "mine"}, "A list of str is needed"),
        ({"extra_index_urls": "https://me:hunter2@host/simple"}, r"'https://\*\*\*@host"),
    ],
)
def test_wrong_options_are_refused_at_the_declaration(
    options: dict[str, Any], says: str
) -> None:
    """An error names the option or quotes the value, with credentials masked."""
    with pytest.raises(OptionError, match=says):
        Virtualenv(**options)


def test_class_is_found_at_the_package() -> None:
    """The class is imported from the package, which registers it."""
    assert fal_env_virtualenv.Virtualenv is Virtualenv
    assert list(fal_env_virtualenv.fal_register_environments()) == [Virtualenv]


def test_layers_are_kept_as_written() -> None:
    """A list is one layer, a list of lists is several, and extending adds one."""
    assert Virtualenv().layers == ()
    assert Virtualenv(requirements=["a", "b"]).layers == (("a", "b"),)
    layered = Virtualenv(requirements=[["a"], ["b"]], tags=["x"])
    assert layered.layers == (("a",), ("b",))
    assert layered.extend(["c"]) == Virtualenv(requirements=[["a"], ["b"], ["c"]], tags=["x"])


def test_files_of_requirements_are_read(
    build: Any, evaluate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with inline metadata and the files of a project list what they require."""
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "script.py").write_text('# /// script\n# dependencies = ["gamma"]\n# ///\n')
    (folder / "more.in").write_text("beta\n")
    for entry in ("script.py", "./script.py", "-r script.py"):
        assert Virtualenv(requirements=[entry]).requirements == (f"-r {folder}/script.py",)
    environment = structure_environment(
        Options(environment={"requirements": ["script.py", "more.in"]})
    )
    assert evaluate(build(environment), "__import__('gamma').version") == "3.1"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("environment.yml", "as conda environments are described in"),
        ("-r environment.yml", "as conda environments are described in"),
        ("bare.py", "does not say what it requires"),
        ("-r bare.py", "does not say what it requires"),
        ("./deps.toml", r"Write '-r \./deps\.toml' if it does"),
        ("./uv.lock", r"or write project='\.'"),
        ("newer.py", r"Python >=3\.99 is not installed\. Found: "),
        ("-r pyproject.toml", r"Python >=3\.99 is not installed\. Found: "),
    ],
)
def test_files_that_are_not_read(
    entry: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another kind, or for another Python, is refused at the declaration."""
    monkeypatch.chdir(tmp_path)
    for name in ("environment.yml", "uv.lock", "bare.py", "deps.toml"):
        (tmp_path / name).touch()
    bounds = 'requires-python = ">=3.99"\n'
    (tmp_path / "newer.py").write_text(f"# /// script\n# {bounds}# ///\n")
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "a"\n{bounds}')
    with pytest.raises(OptionError, match=says):
        Virtualenv(requirements=[entry])
    assert Virtualenv(requirements=["-r deps.toml"]).requirements == (
        f"-r {tmp_path}/deps.toml",
    )
    Virtualenv(requirements=["-r newer.py"], python_version="3.99")


def test_other_python(build: Builder, evaluate: Evaluate, other_python: str) -> None:
    """``python_version`` chooses another installed Python."""
    environment = Virtualenv(requirements=["gamma"], python_version=other_python)
    interpreter = build(environment)
    assert interpreter.python_version == other_python
    assert evaluate(interpreter, "sys.version_info[:2]", "sys gamma") == str(
        tuple(int(number) for number in other_python.split("."))
    )
    assert environment.key != Virtualenv(requirements=["gamma"]).key


def test_credentials_are_not_shown_in_a_notebook() -> None:
    """
    A cell that ends with a function shows its options, as ``explain`` does: notebooks are
    kept and passed on with what they show.
    """
    requirement = "x @ https://bob:t0ken@example.com/x.whl"
    made = function(
        "virtualenv",
        host=InProcessHost(),
        requirements=[requirement],
        index_url="https://bob:s3cret@example.com/",
    )(len)
    html = made._repr_html_()
    assert "example.com/x.whl" in html
    assert "t0ken" not in html
    assert "s3cret" not in html
