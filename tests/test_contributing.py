"""The page for contributors says where things are."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from house.maps import draw_map  # noqa: E402  # the path comes first

sys.path.remove(str(ROOT / "tests"))

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_map_has_every_folder() -> None:
    """The map is the one that the folders' own docstrings give."""
    _, _, rest = PAGE.partition("<!-- map: python -m house.maps, in tests -->\n")
    drawn, _, _ = rest.partition("<!-- end of the map -->")
    assert drawn.strip() == "\n".join(draw_map()).strip()


def test_the_places_to_start_from_are_there() -> None:
    """Each file that the page names exists."""
    named = re.findall(r"`((?:src|plugins|tests)/[\w/.-]+\.py)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []
