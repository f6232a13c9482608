"""Fixtures of the tests of claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.claims import CLAIMS_VARIABLE


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of claims of the test's own, in which nothing is made yet."""
    path = tmp_path / "devices"
    monkeypatch.setenv(CLAIMS_VARIABLE, str(path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return path
