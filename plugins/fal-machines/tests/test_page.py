"""The page of machines has the table of the catalogue."""

from __future__ import annotations

from pathlib import Path

from tables import draw_table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "machines.md"


def test_the_page_has_the_table_of_the_catalogue() -> None:
    """
    The table in the documentation says what the catalogue says; ``python tables.py`` prints
    it.
    """
    _, _, rest = PAGE.read_text("utf-8").partition("<!-- table: ")
    _, _, rest = rest.partition("-->\n")
    table, _, _ = rest.partition("<!-- end of the table -->")
    assert table.splitlines() == list(draw_table())
