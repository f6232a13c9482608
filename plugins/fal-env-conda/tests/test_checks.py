"""What ``fal-core doctor`` says of conda environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_env_conda import fal_health_checks
from fal_env_conda.checks import check_rattler, check_shell


def test_checks_pass_here() -> None:
    """They say which rattler there is, and what it knows of the machine."""
    assert all(check.run().ok for check in fal_health_checks())
    assert "py-rattler" in check_rattler().message
    assert "__" in check_rattler().message


def test_missing_bash_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages with activation scripts need it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check_shell()
    assert not found.ok
    assert "Install bash" in found.message
