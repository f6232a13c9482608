"""Print the structure of the packages as a table, and fail where it breaks its rules."""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from house.budgets import BUDGETS, CONTRACT, find_lonely, find_overdrawn, measure_texts
from house.imports import (
    Module,
    find_edges,
    find_knots,
    find_packages,
    leave_out,
    read_modules,
)
from house.order import CROWDED, MOST_LINES, MOST_MODULES, UPWARD
from house.ways import measure_ways

HEADER = ("package", "folders", "modules", "lines", "knots", "fullest folder", "longest module")


def main() -> int:
    """Print the table and the figures; return 1 where a rule is broken."""
    packages = find_packages()
    modules = read_modules(packages)
    knots = find_knots(leave_out(find_edges(modules), UPWARD))
    rows = [HEADER]
    for package in packages:
        own = [module for module in modules.values() if module.package == package]
        fullest, most = max(count_folders(own).items(), key=lambda pair: pair[1])
        longest = max(own, key=lambda module: module.lines)
        rows.append(
            (
                package,
                str(sum(module.is_folder for module in own) - 1),
                str(len(own)),
                f"{sum(module.lines for module in own):,}",
                str(sum(knot[0].partition(".")[0] == package for knot in knots)),
                f"{most} in {fullest}",
                f"{longest.lines} in {longest.name}",
            )
        )
    print_table(rows)
    measured = {**measure_texts(modules), **measure_ways()}
    contract = [modules[f"fal_core.{name}"].path for name in CONTRACT]
    print()
    print(f"contract: {sum(count_code(path.read_text('utf-8')) for path in contract)} of code")
    limited = {name: value for name, value in measured.items() if name in BUDGETS}
    for name in sorted(measured.keys() - limited.keys()):
        print(f"{name}: {measured[name]:,}")
    print()
    print_table(
        [
            ("measure", "today", "budget"),
            *((name, f"{value:,}", f"{BUDGETS[name]:,}") for name, value in limited.items()),
        ]
    )
    broken = [*find_broken(modules, knots), *find_overdrawn(limited)]
    sys.stdout.flush()
    for sentence in broken:
        print(sentence, file=sys.stderr)
    return 1 if broken else 0


def print_lonely() -> int:
    """Print each module that one neighbour alone imports, with its lines and the neighbour."""
    modules = read_modules(find_packages())
    for name, user in find_lonely(modules):
        print(f"{name}: {modules[name].lines} lines, for {user} ({modules[user].lines})")
    return 0


def find_broken(modules: Mapping[str, Module], knots: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield a sentence for each knot, crowded folder and overlong module."""
    for knot in knots:
        yield f"These import each other in a circle: {', '.join(knot)}."
    for folder, count in count_folders(modules.values()).items():
        most = CROWDED.get(folder, MOST_MODULES)
        if count > most:
            yield f"Folder {folder} has {count} modules, and may have {most}."
    for module in modules.values():
        if module.lines > MOST_LINES:
            yield f"Module {module.name} has {module.lines} lines, and may have {MOST_LINES}."


def count_folders(modules: Iterable[Module]) -> Counter[str]:
    """Return how many of *modules* lie in each folder, its ``__init__`` not counted."""
    counted: Counter[str] = Counter()
    for module in modules:
        counted[module.name.rpartition(".")[0]] += not module.is_folder
    return counted


def count_code(text: str) -> int:
    """Return how many lines of *text* are neither empty, comments nor docstrings."""
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            said.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT)
    nothing += (tokenize.DEDENT, tokenize.ENDMARKER)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in nothing:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - said)


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print *rows* in columns, the first and those after the fifth to the left."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if at in (0, 5, 6) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="house", description=__doc__)
    parser.add_argument(
        "--lonely", action="store_true", help="List modules that one neighbour alone imports."
    )
    sys.exit(print_lonely() if parser.parse_args().lonely else main())
