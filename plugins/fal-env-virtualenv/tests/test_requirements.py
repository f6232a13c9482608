"""
What an entry of ``requirements`` may say, and how a wrong one is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_core.errors import OptionError, OptionTypeError
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.requirements import parse


@pytest.mark.parametrize(
    ("entry", "form", "name"),
    [
        ("numpy", "index", "numpy"),
        ("Zope.Interface", "index", "zope-interface"),
        ("numpy>=1.26,<3", "index", "numpy"),
        ("numpy ~= 1.26", "index", "numpy"),
        ("numpy==1.*", "index", "numpy"),
        ("numpy (>=1.26, !=2.0)", "index", "numpy"),
        ("torch==2.1.0+cpu", "index", "torch"),
        ("requests[socks, security]>=2 ; python_version < '3.13'", "index", "requests"),
        ("tool @ git+https://host/tool.git@v1#subdirectory=x", "address", "tool"),
        ("tool[extra]@https://host/tool-1.0-py3-none-any.whl", "address", "tool"),
        ("git+ssh://git@host/tool.git", "address", None),
    ],
)
def test_forms_of_requirements(entry: str, form: str, name: str | None) -> None:
    """
    An entry is kept as written, and what it says is understood.
    """
    requirement = parse(entry)
    assert (requirement.text, requirement.form, requirement.name) == (entry, form, name)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("", "one line that is not empty"),
        ("numpy\nsix", "one line"),
        ("numpy=1.2", "Write '=='"),
        ("numpy 1.2", "What follows 'numpy' is no version"),
        ("numpy>=", "What follows 'numpy' is no version"),
        ("==1.2", "does not begin with a name"),
        ("requests[socks", "What follows 'requests'"),
        ("--index-url https://host/simple", "is a flag"),
        ("-c constraints.txt", "is a flag"),
        ("hg+https://host/tool", "only git is understood"),
        ("-e git+https://host/tool.git", "must name a local project"),
        ("./nowhere", "there is no such path"),
        ("./demo/pyproject.toml[extra]", r"write '\./demo\[extra\]'"),
        ("pyproject.toml[extra]", r"write '\.\[extra\]'"),
        ("-e ./demo/pyproject.toml[extra]", r"write '-e \./demo\[extra\]'"),
        ("-r nowhere.txt", "there is no such path"),
    ],
)
def test_wrong_requirement_is_refused_where_it_is_written(entry: str, says: str) -> None:
    """
    A declaration with a wrong entry fails, and the error names the entry.
    """
    with pytest.raises(OptionError, match=says) as caught:
        Virtualenv(requirements=["six", entry])
    assert entry.split(" ", 1)[-1] in str(caught.value) or repr(entry) in str(caught.value)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A declaration means the same paths wherever the process goes later.
    """
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "pyproject.toml").touch()
    (tmp_path / "requirements.txt").touch()
    monkeypatch.chdir(tmp_path)
    environment = Virtualenv(
        requirements=[
            "./demo",
            "-e demo",
            "demo/pyproject.toml",
            "requirements.txt",
            "./demo[extra]",
        ]
    )
    assert environment.requirements == (
        f"{tmp_path}/demo",
        f"-e {tmp_path}/demo",
        f"-r {tmp_path}/demo/pyproject.toml",
        f"-r {tmp_path}/requirements.txt",
        f"{tmp_path}/demo[extra]",
    )
    monkeypatch.chdir("/")
    assert environment.extend(["six"]).layers == (environment.requirements, ("six",))


def test_directory_without_project_is_refused(tmp_path: Path) -> None:
    """
    A path that cannot be installed is refused where it is written.
    """
    with pytest.raises(OptionError, match=r"neither a pyproject.toml nor a setup.py"):
        Virtualenv(requirements=[str(tmp_path)])


@pytest.mark.parametrize(
    ("requirements", "where"),
    [
        ("numpy", "requirements"),
        ([["numpy"], "six"], r"requirements\[1\]"),
        ([["numpy", 3]], r"requirements\[0\]\[1\]"),
    ],
)
def test_entries_and_layers_do_not_mix(requirements: object, where: str) -> None:
    """
    Requirements are a list of entries or a list of lists; the error says where not.
    """
    with pytest.raises(OptionTypeError, match=where):
        Virtualenv(requirements=requirements)  # type: ignore[arg-type]  # wrong on purpose


def test_layers_are_what_was_written() -> None:
    """
    A list is one layer, a list of lists is layers, and extending adds one.
    """
    assert Virtualenv().layers == ()
    assert Virtualenv(requirements=["a", "b"]).layers == (("a", "b"),)
    layered = Virtualenv(requirements=[["a"], ["b"]], tags=["x"])
    assert layered.layers == (("a",), ("b",))
    assert layered.extend(["c"]) == Virtualenv(requirements=[["a"], ["b"], ["c"]], tags=["x"])


@pytest.mark.parametrize(
    "version", ["2.7", "4.7", "abc", "python3.11", ">=3.11", "", "3.11.7.1"]
)
def test_wrong_version_is_refused_where_it_is_written(version: str) -> None:
    """
    What is not written as a version of Python is refused at the declaration, with
    those that there are.
    """
    here = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(OptionError, match=rf"'python_version' .* Installed: .*{here}"):
        Virtualenv(python_version=version)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.9.18", "3.2t"])
def test_version_that_runs_no_worker_is_refused_where_it_is_written(version: str) -> None:
    """
    A Python that is older than the worker needs is refused at the declaration, with
    those that there are.
    """
    here = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(OptionError, match=rf"must be 3\.10 or newer.* Installed: .*{here}"):
        Virtualenv(python_version=version)
    assert Virtualenv(python_version="3").python_version == "3"


def test_repr_holds_no_credentials() -> None:
    """
    A declaration can be printed without giving passwords away.
    """
    environment = Virtualenv(
        requirements=["tool @ git+https://ghp_secret@host/tool.git"],
        extra_index_urls=["https://user:hunter2@host/simple"],
    )
    assert "secret" not in repr(environment)
    assert "hunter2" not in repr(environment)
