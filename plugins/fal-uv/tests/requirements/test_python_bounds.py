"""The Pythons that files of requirements are written for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_uv.requirements.python_bounds import allows, are_valid, bounds_in


@pytest.mark.parametrize(
    ("bounds", "version", "fits"),
    [
        ("==3.11.9", "3.11", True),
        (">=3.11.4,<3.11.10", "3.11", True),
        (">=3.11,<3.12", "3.12", False),
        ("==3.11.*", "3", True),
        ("<3", "3", False),
        (">=3.11.4", "3.11", True),
        (">3.11.4", "3.11.4", False),
        ("!=3.11.4", "3.11.4", False),
        ("!=3.11.4", "3.11", True),
    ],
)
def test_numbers_that_are_left_out_may_be_any(bounds: str, version: str, fits: bool) -> None:
    """Bounds exclude a version only if they exclude each Python that it stands for."""
    assert allows([bounds], version) is fits


def test_bounds_of_files(tmp_path: Path) -> None:
    """Programs, projects and locks say which Pythons they are written for; others do not."""
    line = 'requires-python = ">=3.11"\n'
    files = {
        "script.py": f"# /// script\n# {line}# ///\n",
        "pyproject.toml": f"[project]\n{line}",
        "pylock.toml": f'lock-version = "1.0"\n{line}',
        "uv.lock": line,
        "requirements.txt": line,
        "bare.py": line,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = bounds_in([str(tmp_path / name) for name in (*files, "script.py")])
    assert found == [(str(tmp_path / name), ">=3.11") for name in [*files][:4]]
    assert are_valid(">=3.11,<4")
    assert not are_valid("newer")
