"""The options of the kind ``conda``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import fal_env_conda
from fal_core.environments import THIS_PYTHON
from fal_core.errors import OptionError
from fal_core.machines import Machine
from fal_env_conda.kinds import Conda
from fal_uv.testing import write_project


def test_names_and_defaults_are_those_of_the_documented_api() -> None:
    """
    Each option has the name and the default that fal's API documents, which has ``force`` and
    indexes for other kinds alone.
    """
    options = {field.alias: field.default for field in attrs.fields(Conda) if field.init}
    assert options.pop("force") is False
    assert options.pop("index_url") is options.pop("torch_backend") is None
    assert options.pop("extra_index_urls") == ()
    names = (
        "python_version",
        "env_dict",
        "env_yml",
        "env_yml_str",
        "packages",
        "pip",
        "channels",
    )
    assert options == dict.fromkeys(names)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"packages": ["numpy"], "env_dict": {"dependencies": []}},
            "'env_dict' and 'packages' both say which packages there are",
        ),
        (
            {"env_yml_str": "dependencies: []", "env_dict": {}},
            "'env_dict' and 'env_yml_str' both say",
        ),
        ({"packages": "numpy"}, "A list of str is needed"),
        ({"channels": "https://me:hunter2@host/c"}, r"'https://\*\*\*@host/c'"),
        ({"channels": "https://host/t/hunter2/c"}, r"'https://host/t/\*\*\*/c'"),
        ({"pip": ["not a requirement"]}, "'not a requirement' cannot be parsed"),
        ({"env_dict": {"dependencies": "numpy"}}, "must be a list"),
        ({"env_yml": "/nowhere/environment.yml"}, "there is no such file"),
        ({"python_version": "three"}, "must be a version, as in '3.11', not 'three'"),
        ({"python_version": "3.9"}, "a worker needs 3.10 or newer"),
        (
            {"python_version": "3.12", "packages": ["python=3.11"]},
            "'python_version' asks for Python 3.12, and package 'python=3.11' for another",
        ),
        (
            {"python_version": "3.12.4", "packages": ["python=3.12.1"]},
            "'python_version' asks for Python 3.12.4, and package 'python=3.12.1' for another",
        ),
        (
            {"packages": ["python=3.12.1", "python ==3.12.4"]},
            "Another package asks for Python 3.12.1, and package 'python ==3.12.4'",
        ),
        (
            {"python_version": "3.12", "packages": ["python[version='3.11.*']"]},
            "asks for Python 3.12, and package",
        ),
        (
            {"python_version": "3.12", "packages": ["python>=3.13"]},
            "Package 'python>=3.13' leaves out Python 3.12, which option 'python_version'",
        ),
        (
            {"packages": ["python>=3.13", "python=3.12"]},
            "Package 'python>=3.13' leaves out Python 3.12, which",
        ),
        ({"packages": ["-e ./project"]}, "Give it to option 'pip'"),
        ({"packages": ["defaults::numpy"]}, "licence"),
        ({"channels": ["defaults"]}, "Name 'conda-forge' in its place"),
        (
            {"packages": ["numpy"], "index_url": "https://host"},
            "of option 'pip', and there are",
        ),
        ({"pip": ["torch"], "torch_backend": "cuda"}, "'torch_backend' must be one of uv's"),
    ],
)
def test_wrong_options_are_refused_at_the_declaration(
    options: dict[str, Any], says: str
) -> None:
    """An error names the option or quotes the value, with credentials masked."""
    with pytest.raises(OptionError, match=says) as caught:
        Conda(**options)
    assert "hunter2" not in str(caught.value)


def test_python_version_is_what_the_packages_ask_for() -> None:
    """A minor version among the packages is known before anything is built."""
    assert Conda(packages=["python=3.12", "numpy"]).python_version == "3.12"
    assert Conda(packages=["python 3.13.*"]).python_version == "3.13"
    assert Conda(packages=["python-dateutil=3.12"]).python_version is None
    assert Conda(packages=["python >=3.10"]).python_version is None
    assert Conda(packages=["python=3.12", "python=3.12.1"]).python_version == "3.12"
    assert Conda(python_version="3.12", packages=["python >=3.12.3"]).python_version == "3.12"
    exact = Conda(python_version="3.12.4", packages=["python=3.12", "python>3.12"])
    assert exact.python_version == "3.12.4"
    assert f"python {THIS_PYTHON}.*" in Conda(packages=["numpy"]).recipe.definition.specs


def test_repr_holds_no_credentials() -> None:
    """The representation of a declaration masks credentials."""
    environment = Conda(
        channels=["https://me:hunter2@host/channel", "https://host2/t/tk-secret/channel"],
        pip=["tool @ git+https://ghp_secret@host/tool.git"],
        index_url="https://me:hunter3@host/simple",
        extra_index_urls=["https://me:hunter3@host2/simple"],
    )
    for secret in ("hunter2", "hunter3", "tk-secret", "ghp_secret"):
        assert secret not in repr(environment)


def test_extending_adds_pip_requirements() -> None:
    """What a host adds is installed with pip's requirements, for the same machine."""
    machine = Machine(name="GPU-A100", gpus=1)
    extended = Conda(packages=["numpy"], pip=["six"]).for_machine(machine).extend(["attrs"])
    assert extended.pip == ("six", "attrs")
    assert extended.recipe.machine == machine


def test_declaring_starts_no_process_and_imports_little() -> None:
    """A declaration imports neither rattler nor a YAML parser, unless it has YAML."""
    script = (
        "import sys, fal_core.environments\n"
        "before = set(sys.modules)\n"
        "from fal_env_conda import Conda\n"
        "Conda(packages=['numpy'], channels=['conda-forge'])\n"
        "heavy = {'rattler', 'yaml', 'asyncio', 'subprocess', 'click', 'uv'}\n"
        "print(sorted(heavy & set(sys.modules) - before))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_environment_file_is_read_at_the_declaration(tmp_path: Path) -> None:
    """A declaration keeps what the file said, whatever happens to the file."""
    path = tmp_path / "environment.yml"
    path.write_text("dependencies: [python=3.12, numpy]\n")
    environment = Conda(env_yml=path)
    path.unlink()
    assert environment.recipe.definition.packages == ("numpy",)
    assert environment.python_version == "3.12"


def test_dict_that_is_changed_afterwards_does_not_count() -> None:
    """A declaration keeps what the dict said."""
    values: dict[str, Any] = {
        "channels": ["conda-forge"],
        "dependencies": ["numpy", {"pip": ["six"]}],
        "variables": {"A": "1"},
    }
    environment = Conda(env_dict=values)
    values["channels"].append("bioconda")
    values["dependencies"][1]["pip"].append("attrs")
    values["variables"]["A"] = "2"
    again = environment.for_machine(Machine(name="S")).recipe.definition
    assert again == environment.recipe.definition


def test_files_travel_as_values(tmp_path: Path) -> None:
    """A declaration that is sent elsewhere names no file, and has its Python as an option."""
    path = tmp_path / "environment.yml"
    path.write_text("dependencies: [python=3.12, numpy, {pip: [six]}]\n")
    values = {"dependencies": ["numpy", {"pip": ["six"]}]}
    environment = Conda(env_yml=path)
    assert environment == Conda(env_dict=values, python_version="3.12")
    assert environment == Conda(env_yml_str=path.read_text())
    assert (environment.env_yml, environment.env_yml_str) == (None, None)
    assert Conda(packages=["python=3.12", "numpy"]).packages == ("numpy",)
    assert Conda(packages=["python=3.12.1"]).packages == ("python=3.12.1",)


def test_definition_is_what_a_service_takes(tmp_path: Path) -> None:
    """It has the options that say something, with the version of Python in one place."""
    path = tmp_path / "environment.yml"
    path.write_text(
        "channels: [conda-forge]\ndependencies: [python=3.12, numpy, {pip: [six]}]\n"
    )
    environment = Conda(env_yml=path, channels=["bioconda"], force=True)
    assert environment.definition() == {
        "python_version": "3.12",
        "env_dict": {"channels": ["conda-forge"], "dependencies": ["numpy", {"pip": ["six"]}]},
        "channels": ["bioconda"],
    }
    packages = Conda(packages=["python=3.12", "numpy"], pip=["six"])
    assert packages.definition() == {
        "python_version": "3.12",
        "packages": ["numpy"],
        "pip": ["six"],
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"packages": ["numpy"], "channels": ["."]}, "Channel 'file://"),
        ({"packages": ["file:///channel/noarch/a-1-0.conda"]}, "Package 'file://"),
        ({"packages": ["numpy"], "pip": ["./project"]}, "Requirement '/.*/project'"),
        ({"packages": ["numpy"], "pip": ["-e ./project"]}, "Requirement '-e /.*/project'"),
        ({"packages": ["numpy"], "pip": ["-r pins.txt"]}, "Requirement '-r /.*/pins.txt'"),
        ({"env_yml_str": "version: 6\nenvironments: {}\npackages: []\n"}, "Locks of conda"),
    ],
)
def test_definition_has_nothing_of_this_machine(
    options: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a service cannot see is refused by name."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path / "project")
    (tmp_path / "pins.txt").write_text("six\n")
    with pytest.raises(OptionError, match=named):
        Conda(**options).definition()


def test_class_is_found_at_the_package() -> None:
    """The class is imported from the package, which registers it."""
    assert fal_env_conda.Conda is Conda
    assert list(fal_env_conda.fal_register_environments()) == [Conda]


def test_packages_may_be_the_name_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment file is read by its name; beside packages it is refused."""
    monkeypatch.chdir(tmp_path)
    Path("environment.yml").write_text("dependencies: [words]\n")
    assert Conda(packages=["environment.yml"]) == Conda(env_yml="environment.yml")
    for packages, says in (
        (["environment.yml", "numpy"], "names the file 'environment.yml' beside packages"),
        (["absent.yml"], "there is no such file"),
    ):
        with pytest.raises(OptionError, match=says):
            Conda(packages=packages)
    with pytest.raises(OptionError, match="both say which packages there are"):
        Conda(packages=["environment.yml"], env_dict={"dependencies": ["words"]})


def test_locks_of_uv_are_not_for_pip(tmp_path: Path) -> None:
    """A lock cannot be followed beside what conda chooses."""
    path = tmp_path / "pylock.toml"
    path.write_text('lock-version = "1.0"\n')
    with pytest.raises(OptionError, match="conda chooses its own"):
        Conda(packages=["words"], pip=[str(path)])


def test_indexes_of_pip_enter_the_key() -> None:
    """
    Each has an environment of its own. A service is told the indexes that it can follow, and
    is refused the others.
    """
    plain = Conda(packages=["numpy"], pip=["six"])
    extra = attrs.evolve(plain, extra_index_urls=["https://host/simple"])
    other = attrs.evolve(plain, index_url="https://host/simple")
    backend = attrs.evolve(plain, torch_backend="cpu")
    assert len({each.key for each in (plain, extra, other, backend)}) == 4
    assert extra.definition()["pip"] == ["six", "--extra-index-url https://host/simple"]
    # The flag and its value may be two entries.
    entries = ["--extra-index-url", "https://host/simple", "six"]
    flagged = Conda(packages=["numpy"], pip=entries)
    assert flagged.pip == ("--extra-index-url=https://host/simple", "six")
    assert flagged.recipe.definition.indexes == ("https://host/simple",)
    for each in (other, backend):
        with pytest.raises(OptionError, match="is not for a service that builds"):
            each.definition()
