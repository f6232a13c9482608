"""
The table of the documentation: which host runs which kind of environment, and what of it.

``python matrix_table.py`` measures it and writes it to the page.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from matrix_kinds import KINDS
from matrix_places import PLACES
from matrix_runs import CAPABILITIES, EXCEPT, Matrix, offers

PAGE = Path(__file__).resolve().parents[3] / "docs" / "hosts-and-kinds.md"

_BEGIN = "<!-- table: python tests/together/matrix/matrix_table.py -->\n"
_END = "<!-- end of the table -->"

#: What is offered of each kind, by host and kind; None where a host does not run the kind.
Offers = Mapping[tuple[str, str], Mapping[str, bool] | None]

#: How the table names hosts.
TITLES = {
    "local": "`local`",
    "serverless": "`serverless`, on `fal-core server`",
    "process": "`fal_testing.ProcessHost`",
    "directory": "`examples/directory_host.py`",
    "ray": "`ray`",
}


def draw(offered: Offers) -> Iterator[str]:
    """Yield the lines of the table."""
    for host in PLACES:
        yield f"| {TITLES[host]} | {' | '.join(f'`{kind}`' for kind in KINDS)} |"
        yield f"|---{'|---' * len(KINDS)}|"
        for name in CAPABILITIES:
            cells = [_word(offered[host, kind], name) for kind in KINDS]
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""


def _word(offered: Mapping[str, bool] | None, name: str) -> str:
    if offered is None:
        return "not offered"
    return "yes" if offered[name] else "no"


def read(host: str, kind: str) -> dict[str, bool] | None:
    """
    Return what the page says of a host with a kind; None where it says that the host does
    not run the kind.
    """
    table = PAGE.read_text("utf-8").partition(_BEGIN)[2].partition(_END)[0]
    lines = table.partition(f"| {TITLES[host]} |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines]
    column = 1 + list(KINDS).index(kind)
    words = {row[0]: row[column].strip() for row in rows}
    assert list(words) == list(CAPABILITIES), f"The page has no table for host {host!r}."
    if set(words.values()) == {"not offered"}:
        return None
    return {name: word == "yes" for name, word in words.items()}


def measure() -> Offers:
    """Return what is offered, as measured."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("FAL_CORE_CACHE", f"{folder}/cache")
        matrix = Matrix(Path(folder), stack)
        found: dict[tuple[str, str], Mapping[str, bool] | None] = {}
        for host in PLACES:
            for kind in KINDS:
                cell = matrix.cell(host, kind)
                found[host, kind] = None
                if cell.is_offered():
                    left_out = EXCEPT.get((host, kind), frozenset())
                    laws = [law for name, law in CAPABILITIES.items() if name not in left_out]
                    said = offers(cell.run(laws))
                    found[host, kind] = {name: said.get(name, False) for name in CAPABILITIES}
        return found


def write(offered: Offers) -> None:
    """Write the table to the page."""
    before, begin, rest = PAGE.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    table = "\n".join(draw(offered))
    PAGE.write_text(f"{before}{begin}{table}{end}{after}", "utf-8")


if __name__ == "__main__":
    write(measure())
    sys.exit(0)
