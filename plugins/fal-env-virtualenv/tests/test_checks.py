"""The checks of ``fal-core doctor`` for virtual environments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fal_env_virtualenv import fal_health_checks
from fal_env_virtualenv.checks import check_uv


def test_checks_of_a_sound_machine(cache: Path) -> None:
    """Each check passes on this machine, and leaves nothing behind."""
    findings = {check.name: check.run() for check in fal_health_checks()}
    assert [name for name, finding in findings.items() if not finding.ok] == []
    assert list(cache.iterdir()) == []


def test_checks_say_what_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that fails says what to do."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "file" / "x"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "uv", None)
    findings = {check.name: check.run() for check in fal_health_checks()}
    assert not any(finding.ok for finding in findings.values())
    assert "pip install uv" in findings["uv"].message
    assert "FAL_CORE_CACHE" in findings["cache directory"].message


def test_an_old_uv_is_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv that does not know locks starts, and is no use for all that."""
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho uv 0.6.17\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "uv", None)
    found = check_uv()
    assert not found.ok
    assert found.message == (
        f"uv 0.6.17 at {program} is too old: uv 0.13 or newer is needed. Run "
        "'pip install --upgrade uv'."
    )
