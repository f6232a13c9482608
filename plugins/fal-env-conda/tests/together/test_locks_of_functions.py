"""The command ``fal-core env lock`` for conda environments."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fal_core.cli.program import cli
from fal_env_conda.rattling import machines


def test_lock_and_explicit_list_are_written(
    channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function of a file may name the lock afterwards."""
    monkeypatch.chdir(tmp_path)
    Path("words.py").write_text(
        "from fal_core import function\nfrom fal_testing import ProcessHost\n\n\n"
        f"@function('conda', host=ProcessHost(), packages=['words'], channels=['{channel}'])\n"
        "def words() -> int:\n    return 1\n"
    )
    answer = CliRunner().invoke(cli, ["env", "lock", "words.py::words", "-o", "words.lock"])
    assert answer.exit_code == 0, answer.output
    assert "Wrote words.lock and words.explicit.txt." in answer.output
    assert Path("words.lock").read_text().startswith("version: 7\n")
    assert "@EXPLICIT" in Path("words.explicit.txt").read_text()


def test_lock_is_of_the_machine_type_of_the_function(
    channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function for a machine without GPUs has no packages for CUDA, though this one has a GPU."""
    detected = ("__cuda=12.4=0", *machines.virtual_packages(None))
    monkeypatch.setattr(machines, "_found", {machines._stamp(): detected})
    monkeypatch.chdir(tmp_path)
    declared = f"host=ProcessHost(), packages=['engine'], channels=['{channel}']"
    Path("locked_types.py").write_text(
        "from fal_core import function\nfrom fal_testing import ProcessHost\n\n\n"
        f"@function('conda', {declared}, machine_type='S')\ndef small() -> None: ...\n\n\n"
        f"@function('conda', {declared})\ndef here() -> None: ...\n"
    )
    for name, package in (("small", "engine-0.9"), ("here", "engine-1.0")):
        answer = CliRunner().invoke(
            cli, ["env", "lock", f"locked_types.py::{name}", "-o", f"{name}.lock"]
        )
        assert answer.exit_code == 0, answer.output
        assert package in Path(f"{name}.lock").read_text()
