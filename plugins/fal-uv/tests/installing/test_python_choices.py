"""The Python that is chosen for an environment."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fal_core.errors import OptionError, UnknownNameError
from fal_uv.installing.interpreters import PythonNotInstalled, find_python, installed_versions
from fal_uv.installing.request_checks import choose_python, pin_of
from fal_uv.requirements.pythons import running_python

RUNNING = running_python()


def test_running_python_is_taken_where_it_fits(tmp_path: Path) -> None:
    """Bounds that the running Python is within choose it, with the bounds of files too."""
    file = tmp_path / "pyproject.toml"
    file.write_text(f'[project]\nrequires-python = ">={RUNNING.minor_version}"\n')
    assert choose_python([str(file)], None) is None
    assert choose_python([str(file)], ">=3.10") == RUNNING.minor_version
    assert choose_python([], f"=={RUNNING.version}") == RUNNING.minor_version
    assert choose_python([str(file)], RUNNING.version) == RUNNING.version
    file.write_text('[project]\nrequires-python = "what"\n')
    assert choose_python([str(file)], None) is None


def test_another_python_is_taken_where_it_does_not() -> None:
    """The newest installed Python within the bounds is chosen."""
    others = [each for each in installed_versions() if each != RUNNING.version]
    if not others:
        pytest.skip("only one Python is installed")
    chosen = choose_python([], f"!={RUNNING.version},=={others[-1]}")
    assert chosen is not None
    assert f"{others[-1]}.".startswith(f"{chosen}.")


def test_file_that_names_a_python(tmp_path: Path) -> None:
    """The first line of a ``.python-version`` that is no comment counts."""
    path = tmp_path / ".python-version"
    assert pin_of(str(tmp_path)) is None
    for text, expected in (
        ("3.12\n", "3.12"),
        ("# ours\n\ncpython@3.12.4  # newest\n3.11\n", "3.12.4"),
        ("cpython-3.13t\n", "3.13t"),
        (">=3.10\n", RUNNING.minor_version),
    ):
        path.write_text(text)
        assert choose_python([], str(path)) == expected
    assert pin_of(str(tmp_path)) == str(path)
    for text in ("", "pypy@3.10\n", "latest\n"):
        path.write_text(text)
        with pytest.raises(
            OptionError, match=r"\.python-version says .* no version of CPython"
        ):
            choose_python([], str(path))
    path.unlink()
    with pytest.raises(OptionError, match="No such file"):
        choose_python([], str(path))


def test_python_that_is_not_installed(tmp_path: Path) -> None:
    """The sentence says what is installed, and how to install what is not."""
    with pytest.raises(PythonNotInstalled) as caught:
        find_python("3.99", str(tmp_path))
    listed = ", ".join(installed_versions())
    assert str(caught.value) == (
        f"Python 3.99 is not installed. Found: {listed}. `uv python install 3.99` installs one."
    )
    assert isinstance(caught.value, UnknownNameError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(PythonNotInstalled, match=r"`uv python install '>=3\.99'` installs one"):
        choose_python([], ">=3.99")
    with pytest.raises(OptionError, match="bounds that are none: '>=x'"):
        choose_python([], ">=x")
