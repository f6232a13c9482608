"""Print the figures of fal-core beside those of its peers."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    arrays,
    calls,
    clusters,
    conda_environments,
    containers,
    control_plane,
    dashboards,
    executors,
    files,
    floods,
    footprints,
    large_values,
    log_searches,
    machines,
    pages,
    realtime_echo,
    reloads,
    replicas,
    serving,
    startup,
    tables,
)
from benchmarks.contests import hold
from benchmarks.figures import Figure
from benchmarks.pinning import cores

ROUNDS = 7


def all_figures(*, quick: bool) -> list[Figure]:
    """Return every figure, in the order they are measured."""
    themes = (
        calls,
        executors,
        arrays,
        large_values,
        machines,
        clusters,
        startup,
        conda_environments,
        containers,
        footprints,
        serving,
        reloads,
        realtime_echo,
        control_plane,
        log_searches,
        files,
        pages,
        dashboards,
        floods,
        replicas,
    )
    return [figure for theme in themes for figure in theme.figures(quick=quick)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    figures = all_figures(quick=options.quick)
    known = [figure.name for figure in figures]
    chosen = {name for pattern in options.only for name in fnmatch.filter(known, pattern)}
    unknown = [pattern for pattern in options.only if not fnmatch.filter(known, pattern)]
    if unknown:
        print(
            f"No figure is called {unknown[0]!r}. Known: {', '.join(known)}.", file=sys.stderr
        )
        return 2
    rounds = options.rounds or (3 if options.quick else ROUNDS)
    print(_describe_machine(rounds))
    results = []
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as cache:
        # Environments built here are no one else's.
        os.environ["FAL_CORE_CACHE"] = cache
        for figure in figures:
            if not options.only or figure.name in chosen:
                results.append(hold(figure, rounds=rounds, peers=options.peers))
                print(tables.render(results[-1]), flush=True)
    print(f"\n{tables.summary(results)}")
    if options.json is not None:
        text = json.dumps([result.as_json() for result in results], indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="this figure alone, or those of a pattern such as 'large-*'; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="less of each, and three rounds")
    parser.add_argument(
        "--rounds", type=int, help=f"rounds of each figure; {ROUNDS} if not given"
    )
    parser.add_argument(
        "--no-peers", dest="peers", action="store_false", help="fal-core and references alone"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    return parser


def _describe_machine(rounds: int) -> str:
    pair = cores()
    where = (
        f"client on core {pair[0]}, workers on core {pair[1]} where processes are warm"
        if pair
        else "not pinned: there are no two cores"
    )
    python = f"Python {platform.python_version()} on {platform.machine()} {platform.system()}"
    return f"{python}; {where}; medians of {rounds} interleaved rounds."


if __name__ == "__main__":
    sys.exit(main())
