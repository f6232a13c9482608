"""Requirements that name files, whatever kind of environment they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core import SCRIPT, function
from fal_core.declaring import parse_options, structure_environment
from fal_core.declaring.requirement_files import (
    file_of,
    inline_metadata,
    listed_requirements,
    with_paths,
    with_script,
)
from fal_core.errors import OptionError
from fal_testing import InProcessHost

BLOCK = '# /// script\n# dependencies = ["six"]\n#\n# ///\nimport six\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files of every kind."""
    (tmp_path / "script.py").write_text(BLOCK)
    (tmp_path / "bare.py").write_text("import six\n")
    files = (
        *("requirements.txt", "more.in", "pyproject.toml", "setup.cfg", "setup.py"),
        *("pylock.toml", "pylock.dev.toml", "uv.lock", "Pipfile.lock", "environment.yml"),
        *("conda.yaml", "Pipfile", "numpy", "tool-1.0-py3-none-any.whl"),
    )
    for name in files:
        (tmp_path / name).touch()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").touch()
    (tmp_path / "wandb").mkdir()
    (tmp_path / "pytest").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settle(entry: Any) -> Any:
    return with_paths({"kind": "any", "requirements": [entry]})["requirements"][0]


@pytest.mark.parametrize(
    "name",
    [
        *("script.py", "requirements.txt", "more.in", "pyproject.toml", "setup.cfg"),
        *("setup.py", "tool-1.0-py3-none-any.whl", "pylock.toml", "pylock.dev.toml"),
    ],
)
def test_names_of_files_become_paths(folder: Path, name: str) -> None:
    """
    An entry that is the name of a file is the path of that file, also within a layer, and
    one that is the name of a project's directory is the path of that.
    """
    assert settle(name) == settle(f" {name}") == settle(f"./{name}") == f"{folder}/{name}"
    assert settle([name, "six"]) == [f"{folder}/{name}", "six"]
    assert settle("tool-1.0-py3-none-any.whl[fast]") == (
        f"{folder}/tool-1.0-py3-none-any.whl[fast]"
    )
    assert settle("project") == f"{folder}/project"
    assert settle("project[fast]") == f"{folder}/project[fast]"
    assert with_paths({"kind": "conda", "pip": [name]}) == {
        "kind": "conda",
        "pip": [f"{folder}/{name}"],
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bare.py", "a program that does not say what it requires"),
        ("./bare.py", "a program that does not say what it requires"),
        ("uv.lock", r"is a lock file.*or write project='\.'"),
        ("Pipfile.lock", "is a lock file"),
        ("environment.yml", r"Write @function\('conda', env_yml='environment\.yml'\)"),
        ("conda.yaml", "as conda environments are described in"),
        ("Pipfile", "its name does not say that it lists requirements"),
        ("numpy", "'numpy>=0' if you mean a package"),
        ("wandb", r"or the directory .*/wandb, which is no project. Write 'wandb>=0'"),
        ("absent.py", r"looks like a file, and there is no file .*/absent\.py"),
        ("absent.toml", "looks like a file"),
        ("absent.YML[extra]", r"or 'absent\.YML>=0' if you mean the package"),
    ],
)
def test_what_cannot_be_read_is_refused(folder: Path, name: str, says: str) -> None:
    """Other files, directories that may be packages, and files that are none are refused."""
    with pytest.raises(OptionError, match=says) as caught:
        settle(name)
    assert str(caught.value).endswith(".")
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        *("six", "numpy>=2", "absent.py>=0", "wandb>=0", "discord.py", "ruamel.yaml"),
        *("pytest", "tool @ https://host/tool.zip", "git+https://host/tool.git", "./project"),
        *("-e project", "-r requirements.txt", "zope.interface", "requests[socks]"),
        *("six ; python_version < '3.12'", "./nowhere", ""),
    ],
)
def test_packages_and_paths_stay_as_they_are(folder: Path, entry: str) -> None:
    """What cannot be meant as a file here is left to the kind of environment."""
    assert settle(entry) == entry


def test_inline_metadata_of_programs(tmp_path: Path) -> None:
    """A program says what it requires between two comments."""
    path = tmp_path / "script.py"
    for text, expected in (
        (BLOCK, 'dependencies = ["six"]\n\n'),
        ("#!/usr/bin/env python\n" + BLOCK, 'dependencies = ["six"]\n\n'),
        ("# /// script\n# dependencies = []\n", None),
        ("# /// script\nimport six\n# ///\n", None),
        ("", None),
    ):
        path.write_text(text)
        assert inline_metadata(str(path)) == expected
    path.unlink()
    with pytest.raises(OptionError, match="cannot be read"):
        inline_metadata(str(path))


@pytest.mark.parametrize("kind", ["layered", "container"])
def test_the_rule_holds_for_every_kind(folder: Path, kind: str) -> None:
    """
    A kind of environment is given paths, while the options stay as they were written; where
    they come from another machine, no file of this one is meant.
    """
    declared: dict[str, Any] = {"kind": kind, "requirements": ["script.py", "six"]}
    if kind == "container":
        declared["image"] = "example"
    options = parse_options(declared)
    environment: Any = structure_environment(options)
    found = environment.requirements
    assert [*(found if kind == "container" else found[0])] == [f"{folder}/script.py", "six"]
    assert options.environment == declared
    for wrong in ("bare.py", "absent.py", "wandb"):
        with pytest.raises(OptionError, match=wrong):
            parse_options({**declared, "requirements": [wrong]})
        options.environment["requirements"] = [wrong]
        with pytest.raises(OptionError, match=wrong):
            structure_environment(options)
        environment = structure_environment(options, here=False)
        assert wrong in str(environment.requirements)


def declare(path: Path, text: str) -> dict[str, Any]:
    """Return the names of a module whose file *path* has *text*."""
    path.write_text(text)
    space: dict[str, Any] = {"__name__": "nowhere", "__file__": str(path)}
    exec(compile(text, str(path), "exec"), space)
    return space


def test_script_is_the_file_of_the_function(tmp_path: Path) -> None:
    """SCRIPT, alone or among others and in layers, stands for the file of the function or class."""
    path = tmp_path / "own.py"
    space = declare(path, f"{BLOCK.partition('import')[0]}def f(): ...\nclass C: ...\n")
    f = space["f"]
    assert file_of(f) == str(path)
    for written, expected in (
        (SCRIPT, [str(path)]),
        ([SCRIPT, "six"], [str(path), "six"]),
        ([[SCRIPT], ["six"]], [[str(path)], ["six"]]),
        (["six"], ["six"]),
    ):
        assert with_script({"requirements": written}, f) == {"requirements": expected}
    assert with_script({"requirements": [SCRIPT, "six"]}, None) == {"requirements": ["six"]}
    kind = {"kind": "layered", "requirements": SCRIPT}
    declared = function(**kind, host=InProcessHost(), on_unsupported="ignore")(f)
    assert declared.options.environment["requirements"] == [str(path)]
    changed = declared.on(requirements=[SCRIPT, "six"])
    assert changed.options.environment["requirements"] == [str(path), "six"]


def test_script_without_a_file_or_a_block(tmp_path: Path) -> None:
    """The sentence says that the file says nothing, or that there is none."""
    f = declare(tmp_path / "bare.py", "def f(): ...\n")["f"]
    with pytest.raises(OptionError, match=r"SCRIPT stands for .*bare\.py, which does not say"):
        function("layered", host=InProcessHost(), requirements=SCRIPT)(f)
    (tmp_path / "bare.py").unlink()
    with pytest.raises(OptionError, match=r"SCRIPT stands for the file of 'f', which is not"):
        function("layered", host=InProcessHost(), requirements=SCRIPT)(f)
    with pytest.raises(OptionError, match=r"no function is known here\. Name the file"):
        parse_options({"kind": "layered", "requirements": [SCRIPT]})
    with pytest.raises(OptionError, match="requirments"):
        function("layered", host=InProcessHost(), requirements=SCRIPT, requirments=[])


def test_locks_list_what_they_have(tmp_path: Path) -> None:
    """The names in a lock count as requirements."""
    path = tmp_path / "pylock.toml"
    path.write_text('lock-version = "1.0"\n[[packages]]\nname = "six"\nversion = "1.17"\n')
    assert listed_requirements(str(path)) == ["six"]
