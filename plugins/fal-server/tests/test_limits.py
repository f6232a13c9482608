"""Limits: the page that lists them, and how they are written."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from fal_server.limits import Limits, option_of, write_default

ROOT = Path(__file__).resolve().parents[3]
SECTION = (ROOT / "docs/server.md").read_text().partition("\n## Limits\n")[2]
ROWS = re.findall(
    r"^\| `(--[\w-]+)` \| `([^`]+)` \| .+ \| `server/([\w/]+\.py)::(\w+)` \|$",
    SECTION.partition("\n## ")[0],
    re.MULTILINE,
)


def test_page_lists_every_limit():
    """The page has a row with the default of each limit, in their order."""
    fields = attrs.fields(Limits)
    assert [row[:2] for row in ROWS] == [
        (option_of(field.name), write_default(field)) for field in fields
    ]


def test_each_limit_has_a_test(check_all):
    """The test that a row names is there."""

    def check(row):
        _, _, file, name = row
        source = (ROOT / "plugins/fal-server/tests" / file).read_text()
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE) is not None

    check_all(check, ROWS)
