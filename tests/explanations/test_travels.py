"""Reports of how the modules that a function uses reach the worker."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from fal_core.explanations.travels import travel_report

FILES = {
    "stall/__init__.py": "",
    "stall/models.py": "class Model: pass\n",
    "stall/tasks.py": (
        "import attrs\nfrom .models import Model\n"
        "def task():\n    import alongside\n    return alongside, Model\n"
    ),
    "alongside.py": "raise SystemError('it must not be imported')\n",
}


def test_report_says_how_each_module_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function's own module goes by value, local ones as source, others not at all."""
    (tmp_path / "stall").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    task = importlib.import_module("stall.tasks").task

    report = {travel.module: travel for travel in travel_report(task, ["alongside"])}
    assert report["stall.tasks"].how == "value"
    assert report["stall.models"].how == "source"
    assert "local_python_modules" in report["alongside"].why
    assert report["attrs"].how == "reference"
