"""``fal-core env lock``, for kinds of environments that have no lock."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fal_core.cli.program import cli


def test_function_of_another_kind_has_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the kind."""
    monkeypatch.chdir(tmp_path)
    Path("plain_of_locks.py").write_text(
        "from fal_core import function\nfrom fal_testing import ProcessHost\n\n\n"
        "@function('current', host=ProcessHost())\ndef plain() -> int:\n    return 1\n"
    )
    answer = CliRunner().invoke(cli, ["env", "lock", "plain_of_locks.py::plain"])
    assert answer.exit_code == 1
    assert "has an environment of kind 'current', for which no lock is written." in (
        answer.output
    )


def test_function_that_is_not_there_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is that of the other commands that take a function."""
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(cli, ["env", "lock", "missing.py::words"])
    assert answer.exit_code == 2
    assert answer.output.endswith("Error: There is no file missing.py.\n")
