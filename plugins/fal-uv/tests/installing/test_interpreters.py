"""Finding a Python of a version."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_core.errors import OptionError, UnknownNameError
from fal_uv.installing.interpreters import check_version, find_python, installed_versions
from fal_uv.installing.request_checks import choose_python


@pytest.mark.parametrize(
    "version", ["2.7", "4.7", "abc", "python3.11", ">=3.11", "", "3.11.7.1"]
)
def test_wrong_version_is_refused_where_it_is_written(version: str) -> None:
    """
    A value that is not a Python version is refused at the declaration; the error lists
    those that are installed.
    """
    here = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(OptionError, match=rf"'python_version' .* Installed: .*{here}"):
        check_version(version)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.9.18", "3.2t"])
def test_version_that_runs_no_worker_is_refused_where_it_is_written(version: str) -> None:
    """
    A Python too old for a worker is refused at the declaration; the error lists those
    that are installed.
    """
    here = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(OptionError, match=rf"must be 3\.10 or newer.* Installed: .*{here}"):
        check_version(version)
    check_version("3")


def test_python_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error lists the installed versions that run a worker."""
    for version in ("3.9.18", "3.10.13"):
        program = tmp_path / "versions" / version / "bin/python"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(UnknownNameError, match=r"3\.99") as caught:
        find_python("3.99", str(tmp_path))
    assert "3.10.13" in caught.value.known
    assert not [version for version in caught.value.known if version.startswith("3.9.")]
    assert ".".join(map(str, sys.version_info[:3])) in caught.value.known


def test_builds_of_one_version_are_listed_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual build of a version comes before the one without a GIL."""
    expected = [f"3.{minor}.0{threads}" for minor in range(80, 90) for threads in ("", "t")]
    for version in expected:
        program = tmp_path / "versions" / version / "bin/python"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert [each for each in installed_versions() if each in expected] == expected


def test_python_of_a_version_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_python: str
) -> None:
    """A Python is found in the directory of its version manager; no shim is run."""
    real = find_python(other_python, str(tmp_path / "known"))
    shims, programs = tmp_path / "pyenv/shims", tmp_path / f"pyenv/versions/{real.version}/bin"
    for directory in (shims, programs):
        directory.mkdir(parents=True)
    (programs / "python").symlink_to(real.executable)
    shim = shims / f"python{other_python}"
    shim.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(shims))
    assert find_python(other_python, str(tmp_path)) == real
    with pytest.raises(UnknownNameError) as caught:
        find_python("3.2", str(tmp_path))
    assert real.version in caught.value.known
    assert not (tmp_path / "was-run").exists()


def test_builds_without_a_gil_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A version manager's build without a GIL is listed as one, and neither bounds nor a version
    without the letter lead to it.
    """
    program = tmp_path / "versions/3.98.0t/bin/python"
    program.parent.mkdir(parents=True)
    probed = f"print({str(program)!r}, '3.98.0', 'cpython', 't', sep='\\n')"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{probed}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert "3.98.0t" in installed_versions()
    found = find_python("3.98t", str(tmp_path))
    assert (found.version, found.is_free_threaded) == ("3.98.0", True)
    assert found.library == "lib/python3.98t/site-packages"
    for version in ("3.98", ">=3.98"):
        with pytest.raises(UnknownNameError) as caught:
            find_python(str(choose_python([], version)), str(tmp_path))
        assert "3.98.0t" in caught.value.known
