"""
Entries of ``requirements``: the valid forms, and the errors of wrong ones.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement as Specifier
from packaging.utils import canonicalize_name

from fal_core.declaring import structure_environment
from fal_core.errors import OptionError, OptionTypeError
from fal_core.options import Options
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.requirements.entries import parse_entry


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
    An entry is kept as written, and its form and name are recognised.
    """
    requirement = parse_entry(entry)
    assert (requirement.text, requirement.form, requirement.normalised_name) == (
        entry,
        form,
        name,
    )


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("", "one line that is not empty"),
        ("numpy\nsix", "one line"),
        ("numpy=1.2", "Write '=='"),
        ("numpy 1.2", "What follows 'numpy' is not a valid version"),
        ("numpy>=", "What follows 'numpy' is not a valid version"),
        ("==1.2", "does not begin with a name"),
        ("numpy>=2 ; python < '3'", "not a valid marker"),
        ("numpy>=2 ; python_version", "not a valid marker"),
        ("requests[socks", "What follows 'requests'"),
        ("--index-url https://host/simple", "is a flag"),
        ("-c constraints.txt", "is a flag"),
        ("hg+https://host/tool", "only git is supported"),
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
    A declaration with a wrong entry fails, and the error quotes the entry.
    """
    with pytest.raises(OptionError, match=says) as caught:
        Virtualenv(requirements=["six", entry])
    assert entry.split(" ", 1)[-1] in str(caught.value) or repr(entry) in str(caught.value)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A declaration refers to the same paths if the working directory changes later.
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
    A directory that cannot be installed is refused at the declaration.
    """
    with pytest.raises(OptionError, match=r"neither a pyproject.toml nor a setup.py"):
        Virtualenv(requirements=[str(tmp_path)])


RELEASE = st.builds(
    "{}{}{}".format,
    st.sampled_from(["==", "!=", "<=", ">=", "<", ">"]),
    st.sampled_from(["", " "]),
    st.lists(st.integers(0, 2030).map(str), min_size=1, max_size=4).map(".".join),
)


@given(
    name=st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", fullmatch=True),
    extras=st.sampled_from(["", "[]", "[one]", "[one, two]"]),
    releases=st.lists(RELEASE, max_size=3).map(", ".join),
)
def test_plain_entries_are_what_packaging_says(name: str, extras: str, releases: str) -> None:
    """
    An entry that is recognised without the parser of packaging means the same to it.
    """
    entry = f"{name}{extras}{releases}"
    if entry.endswith((".txt", ".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz")):
        return
    requirement = parse_entry(entry)
    assert requirement.name == Specifier(entry).name
    assert requirement.normalised_name == canonicalize_name(name)


def test_plain_entries_are_recognised_without_packaging() -> None:
    """
    A program that declares plain requirements does not import the parser of packaging.
    """
    script = (
        "import sys\n"
        "from fal_env_virtualenv import Virtualenv\n"
        "Virtualenv(requirements=['numpy', 'six==1.0', 'torch[a,b] >= 2, <3']).key\n"
        "print('packaging' in sys.modules)\n"
        "Virtualenv(requirements=['numpy ~= 1.26'])\n"
        "print('packaging' in sys.modules)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.split() == ["False", "True"]


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
    Requirements are a list of entries or of layers; the error says which element is neither.
    """
    with pytest.raises(OptionTypeError, match=where):
        Virtualenv(requirements=requirements)  # type: ignore[arg-type]  # wrong on purpose


def test_layers_are_kept_as_written() -> None:
    """
    A list is one layer, a list of lists is several, and extending adds one.
    """
    assert Virtualenv().layers == ()
    assert Virtualenv(requirements=["a", "b"]).layers == (("a", "b"),)
    layered = Virtualenv(requirements=[["a"], ["b"]], tags=["x"])
    assert layered.layers == (("a",), ("b",))
    assert layered.extend(["c"]) == Virtualenv(requirements=[["a"], ["b"], ["c"]], tags=["x"])


def test_files_of_requirements_are_read(
    build: Any, evaluate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A program with inline metadata and the files of a project list what they require.
    """
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
        ("./pylock.toml", "is a lock file"),
        ("bare.py", "does not say what it requires"),
        ("-r bare.py", "does not say what it requires"),
        ("./deps.toml", r"Write '-r \./deps\.toml' if it does"),
        ("newer.py", "requires Python >=3.99, and the environment has"),
        ("-r pyproject.toml", "requires Python >=3.99, and the environment has"),
    ],
)
def test_files_that_are_not_read(
    entry: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file of another kind, or for another Python, is refused at the declaration.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("environment.yml", "pylock.toml", "bare.py", "deps.toml"):
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
