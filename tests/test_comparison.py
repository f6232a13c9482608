"""The comparison with others: it is the same everywhere, and leads to what it claims."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/comparison.md"


def read_rows(path: Path) -> list[list[str]]:
    """Return the cells of the rows of the comparison on a page, its head included."""
    text = path.read_text("utf-8")
    table = re.search(r"^\| \| fal-core \|.*\n(\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    head, _, *rows = table[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (head, *rows)]


def read_peers() -> list[tuple[str, str]]:
    """Return the distributions of the peers, each with a name that stands for it."""
    names = PAGE.read_text("utf-8").partition("| peer | distribution | names |")[2]
    return [
        (distribution, name)
        for distribution, listed in re.findall(r"^\| \w+ \| `(\w+)` \| (.*) \|$", names, re.M)
        for name in re.findall(r"`([\w.]+)`", listed)
    ]


def test_first_page_has_the_comparison_of_its_page() -> None:
    """The table of the first page is that of the page, except for where its links begin."""
    first, page = read_rows(ROOT / "README.md"), read_rows(PAGE)
    assert [[cell.replace("(docs/", "(") for cell in row] for row in first] == page
    assert {len(row) for row in page} == {len(page[0])}


def test_what_fal_core_claims_is_shown() -> None:
    """Each thing that fal-core does leads to a page, and to a heading of it, that are there."""
    for row in read_rows(PAGE)[1:]:
        if row[1] == "no":
            continue
        links = re.findall(r"\]\((.+?)\)", f"{row[0]} {row[1]}")
        assert links, row
        for link in links:
            page, _, heading = link.partition("#")
            text = (PAGE.parent / page).read_text("utf-8")
            headings = {
                title.lower().replace(" ", "-")
                for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            }
            assert not heading or heading in headings, link


def test_names_of_peers_are_there(check_all: Callable[..., None]) -> None:
    """Where a peer is installed, it has what stands for it on the page."""
    rows = read_peers()
    assert rows
    installed = [row for row in rows if importlib.util.find_spec(row[0]) is not None]

    def check(row: tuple[str, str]) -> None:
        module, _, attribute = row[1].rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)

    if installed:
        check_all(check, installed)
    missing = sorted({row[0] for row in rows if row not in installed})
    if missing:
        pytest.skip(f"Not looked at, as they are not installed: {', '.join(missing)}.")
