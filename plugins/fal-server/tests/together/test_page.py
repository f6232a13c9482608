"""The page of the documentation about permissions agrees with the server."""

from __future__ import annotations

from pathlib import Path

from fal_server.access.permissions import PERMISSIONS, PRESETS

PAGE = Path(__file__).resolve().parents[4] / "docs" / "server.md"


def test_page_has_every_permission():
    """The page has a row for each permission, with the description that the server has."""
    page = PAGE.read_text("utf-8")
    rows = [f"| `{name}` | {description} |\n" for name, description in PERMISSIONS.items()]
    assert rows
    assert [row for row in rows if row not in page] == []


def test_page_has_every_preset():
    """The page has a row for each preset."""
    page = PAGE.read_text("utf-8")
    assert PRESETS
    assert [name for name in PRESETS if f"| `{name}` | " not in page] == []
