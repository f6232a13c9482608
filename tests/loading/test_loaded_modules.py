"""Modules that targets have brought into this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_core.loading.targets import load_module


def test_folder_stands_on_the_path_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    However often targets are loaded, a folder has one entry of ``sys.path``: the first, after
    whose neighbours were imported last.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = len(sys.path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "target.py").write_text("")
    for _ in range(3):
        for folder in ("one", "two"):
            load_module(f"{folder}/target.py")
            assert sys.path[0] == str(tmp_path / folder)
        # That of a module is the working directory.
        load_module("json")
        assert sys.path[0] == str(tmp_path)
    assert len(sys.path) == before + 3
