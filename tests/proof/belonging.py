"""Which proof a test belongs to: where it lies says so, and ``table.toml`` names the exceptions."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("table.toml")

#: The folders whose tests go through many modules.
SCENARIOS = "together"


@attrs.frozen
class Table:
    """
    The exceptions, each a file or ``file::test``, with the reason.

    Attributes:
        short: Scenarios that the short proof has too.

        dear: Other tests that it has not.
    """

    short: Mapping[str, str]
    dear: Mapping[str, str]

    def is_short(self, file: str, function: str, *, is_fault: bool) -> bool:
        """Return whether the short proof has the test *function* of *file*."""
        names = {f"{file}::{function}", file}
        if names & self.short.keys():
            return True
        is_scenario = SCENARIOS in Path(file).parts
        return not (is_fault or is_scenario or names & self.dear.keys())

    def may_be_short(self, file: str) -> bool:
        """Return whether the short proof has tests of *file*, so that it is worth reading."""
        if any(name.partition("::")[0] == file for name in self.short):
            return True
        return SCENARIOS not in Path(file).parts and file not in self.dear


@functools.cache
def read_table() -> Table:
    """Return the table of the exceptions."""
    read = tomllib.loads(TABLE.read_text("utf-8"))
    return Table(*(dict(_rows(read[name])) for name in ("short", "dear")))


def _rows(groups: list[dict[str, list[str] | str]]) -> Iterator[tuple[str, str]]:
    for group in groups:
        for name in group["tests"]:
            yield name, str(group["reason"])
