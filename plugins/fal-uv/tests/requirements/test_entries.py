"""Entries of ``requirements``: the valid forms, and the errors of wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement as Specifier
from packaging.utils import canonicalize_name

from fal_core.errors import OptionError, OptionTypeError
from fal_uv.requirements.entries import parse_entry, parse_layers


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
    """An entry is kept as written, and its form and name are recognised."""
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
        ("--index-url simple", "must name an index by its URL"),
        ("--extra-index-url", "is a flag without its value"),
        ("--find-links ./nowhere", "there is no such path"),
        ("-c constraints.txt", "has no meaning here: name the file by the option constraints"),
        ("--upgrade", "has no meaning here: leave it out"),
        ("--no-cache-dir", r"'--no-cache-dir' is a flag .* --extra-index-url, .*--no-deps"),
        ("--pre=1", "'--pre=1' is a flag that has no meaning here"),
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
    """A declaration with a wrong entry fails, and the error quotes the entry."""
    with pytest.raises(OptionError, match=says) as caught:
        parse_layers(["six", entry])
    assert entry.split(" ", 1)[-1] in str(caught.value) or repr(entry) in str(caught.value)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declaration refers to the same paths if the working directory changes later."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "pyproject.toml").touch()
    (tmp_path / "requirements.txt").touch()
    monkeypatch.chdir(tmp_path)
    entries = ["./demo", "-e demo", "demo/pyproject.toml", "requirements.txt", "./demo[extra]"]
    assert parse_layers(entries) == (
        f"{tmp_path}/demo",
        f"-e {tmp_path}/demo",
        f"-r {tmp_path}/demo/pyproject.toml",
        f"-r {tmp_path}/requirements.txt",
        f"{tmp_path}/demo[extra]",
    )


def test_flags_are_one_entry_or_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A flag of pip has one spelling, however it was written: its value is in the same entry or in
    the next one.
    """
    (tmp_path / "links").mkdir()
    monkeypatch.chdir(tmp_path)
    url = "https://host/simple"
    for written in (
        ["--extra-index-url", url],
        [f"--extra-index-url {url}"],
        [f"--extra-index-url={url}"],
    ):
        expected = (f"--extra-index-url={url}", "six")
        assert parse_layers([*written, "six"]) == expected
        assert parse_layers([["idna"], [*written, "six"]]) == (("idna",), expected)
        assert parse_layers(expected) == expected
    assert parse_layers(["-i", url, "-f", "links", "--pre", "--no-deps", "six"]) == (
        f"--index-url={url}",
        f"--find-links={tmp_path}/links",
        *("--pre", "--no-deps", "six"),
    )
    with pytest.raises(OptionError, match="without its value"):
        parse_layers(["--index-url", "--pre"])


def test_credentials_of_a_flag_are_not_shown() -> None:
    """An error quotes a flag without what is secret in its URL."""
    with pytest.raises(OptionError) as caught:
        parse_layers(["--trusted-host https://me:hunter2@host/simple"])
    assert "hunter2" not in str(caught.value)


def test_directory_without_project_is_refused(tmp_path: Path) -> None:
    """A directory that cannot be installed is refused at the declaration."""
    with pytest.raises(OptionError, match=r"neither a pyproject.toml nor a setup.py"):
        parse_layers([str(tmp_path)])


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
    """An entry that is recognised without the parser of packaging means the same to it."""
    entry = f"{name}{extras}{releases}"
    if entry.endswith((".txt", ".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz")):
        return
    requirement = parse_entry(entry)
    assert requirement.name == Specifier(entry).name
    assert requirement.normalised_name == canonicalize_name(name)


def test_plain_entries_are_recognised_without_packaging() -> None:
    """A program that declares plain requirements does not import the parser of packaging."""
    script = (
        "import sys\n"
        "from fal_uv.requirements.entries import parse_layers\n"
        "parse_layers(['numpy', 'six==1.0', 'torch[a,b] >= 2, <3'])\n"
        "print('packaging' in sys.modules)\n"
        "parse_layers(['numpy ~= 1.26'])\n"
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
    """Requirements are a list of entries or of layers; the error says which element is neither."""
    with pytest.raises(OptionTypeError, match=where):
        parse_layers(requirements)  # type: ignore[arg-type]  # wrong on purpose
