"""
Change lines, one at a time, and tell which proof notices: the short or only the whole one.

The checkout is not changed. With --results, an interrupted run goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import attrs
from house.imports import ROOT

from mutating.judging import Findings, append_result, draw_table, judge, probe, read_results
from mutating.sites import Site, choose_sites
from mutating.trees import PATHS, Tree, make_tree


def main(arguments: list[str]) -> int:
    """Judge the mutants and print the table."""
    options = read_options(arguments)
    # What was started is ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = read_results(options.results)[0] if options.results else ""
    seed = options.seed or begun or secrets.token_hex(4)
    options.results = options.results or Path(tempfile.gettempdir(), f"mutants-{seed}.jsonl")
    options.probes = options.probes or options.results.with_suffix(".probes.json")
    print(f"--seed {seed} --results {options.results}", flush=True)
    append_result(options.results, {"seed": seed})
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        tree = make_tree(ROOT, folder)
        judge_all(tree, choose_sites(tree.root, options.count, seed), options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def read_options(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="mutating", description=__doc__)
    add = parser.add_argument
    add("--count", type=int, default=60, help="How many lines; 60 by default.")
    add("--seed", help="What decides which lines; by default chance does.")
    add("--results", type=Path, help="The file that results are added to as they come.")
    add("--probes", type=Path, help="The file with the tests of each line; beside --results.")
    add("--only", choices=["short", "whole"], default="", help="Ask one proof alone.")
    add("--tests", nargs="+", default=PATHS, help="Paths of tests; by default all.")
    add("--most", type=int, default=25, help="How many tests to ask of each proof.")
    add("--processes", type=int, default=6, help="How many processes share the first run.")
    return parser.parse_args(arguments)


def judge_all(tree: Tree, sites: list[Site], options: argparse.Namespace) -> None:
    """Find the tests of *sites*, judge those that have no result yet, and print the table."""
    findings = find_tests(tree, sites, options)
    short = tree.list_tests("short", options.tests)
    for number, site in enumerate(sites, 1):
        done = read_results(options.results)[1].get(site.key, {"only": None})
        if done["only"] not in ("", options.only):
            record = judge(tree, site, findings, short, most=options.most, only=options.only)
            append_result(options.results, record)
            print(f"{number} of {len(sites)}: {site.line}: {record['killed']}", flush=True)
    _, results = read_results(options.results)
    print("", *draw_table(results[site.key] for site in sites), sep="\n")


def find_tests(tree: Tree, sites: list[Site], options: argparse.Namespace) -> Findings:
    """Return which tests reach *sites*, as they were found before or as a run with probes tells."""
    if options.probes.exists():
        findings = Findings(**json.loads(options.probes.read_text("utf-8")))
        if all(site.key in findings.tests for site in sites):
            return findings
    print("The whole proof runs once with probes.", flush=True)
    findings = probe(tree, sites, options.tests, options.processes)
    options.probes.write_text(json.dumps(attrs.asdict(findings)), "utf-8")
    return findings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
