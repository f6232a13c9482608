"""
The page of the documentation about permissions agrees with the server.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_server.access.permissions import PERMISSIONS, PRESETS

PAGE = Path(__file__).resolve().parents[4] / "docs" / "server.md"


@pytest.mark.parametrize("name", PERMISSIONS)
def test_page_has_every_permission(name):
    """
    The page has a row for each permission, with the description that the server has.
    """
    assert f"| `{name}` | {PERMISSIONS[name]} |\n" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", PRESETS)
def test_page_has_every_preset(name):
    """
    The page has a row for each preset.
    """
    assert f"| `{name}` | " in PAGE.read_text("utf-8")
