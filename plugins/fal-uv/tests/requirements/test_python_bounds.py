"""
The Pythons that files of requirements are written for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.errors import OptionError
from fal_uv.requirements.python_bounds import check_bounds


@pytest.mark.parametrize(
    ("bounds", "version", "fits"),
    [
        ("==3.11.9", "3.11", True),
        (">=3.11.4,<3.11.10", "3.11", True),
        (">=3.11,<3.12", "3.12", False),
        ("==3.11.*", "3", True),
        ("<3", "3", False),
        (">=3.11.4", " 3.11 ", True),
        (">=3.13.2", "3.13t", True),
        (">3.11.4", "3.11.4", False),
        ("!=3.11.4", "3.11.4", False),
        ("!=3.11.4", "3.11", True),
        ("newer", "3.11", True),
    ],
)
def test_numbers_that_are_left_out_may_be_any(
    tmp_path: Path, bounds: str, version: str, fits: bool
):
    """
    A file is refused only if it excludes each Python that the declared version stands for.
    What is no bound is left to the installer.
    """
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[project]\nrequires-python = "{bounds}"\n')
    if fits:
        check_bounds([f"-r {path}"], version)
        return
    with pytest.raises(OptionError, match="requires Python"):
        check_bounds([f"-r {path}"], version)
