"""Judging: which proof notices a mutant, and by which test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from mutating.probes import add_probes, order_tests, read_reached
from mutating.sites import Site
from mutating.trees import Tree

#: How processes share the whole proof.
SHARED = ("--dist", "loadfile", "--no-loadscope-reorder")
KILLERS = {
    "short": "the short proof",
    "whole": "the whole proof alone",
    "neither": "nothing",
    "no test": "nothing: no test executes it",
}


@attrs.frozen(kw_only=True)
class Findings:
    """The tests that reach each site, by its key, and the seconds that tests take."""

    tests: dict[str, list[str]]
    seconds: dict[str, float]


def probe(tree: Tree, sites: Sequence[Site], paths: Sequence[str], processes: int) -> Findings:
    """Run the whole proof once with a probe at each site, and return which tests reach it."""
    written = tree.folder / "reached"
    written.touch()
    written.chmod(0o666)
    for path, source in {site.path: site.source for site in sites}.items():
        own = {n: each.statement for n, each in enumerate(sites) if each.path == path}
        tree.put(path, source.apply(*add_probes(source, own, str(written))))
    shared = ("--numprocesses", str(processes), *SHARED)
    run = tree.run("whole", *shared, *paths, log="probes.log")
    for site in sites:
        tree.put(site.path, site.source.text)
    if not run.spans:
        said = (tree.folder / "probes.log").read_text("utf-8")[-2000:]
        raise RuntimeError(f"No test ran: {said}")
    seconds: Counter[str] = Counter()
    for span in run.spans:
        seconds[span.unit] += (span.ended - span.begun) / 1e9  # type: ignore[assignment]
    with written.open(encoding="utf-8", errors="replace") as lines:
        reached = read_reached(lines, run.spans)
    tests = {
        site.key: order_tests(
            reached.get(n, set()), site.test_file, seconds, is_outside=site.is_outside
        )
        for n, site in enumerate(sites)
    }
    return Findings(tests=tests, seconds=dict(seconds))


def judge(
    tree: Tree, site: Site, findings: Findings, short: set[str], *, most: int, only: str = ""
) -> dict[str, Any]:
    """
    Return the record of one mutant: which proof killed it, and by what.

    Of each proof *most* tests are asked; with *only*, the other one is not.
    """
    known = findings.tests[site.key]
    asked: dict[str, int] = {}
    killed, by = "neither" if known else "no test", ""
    for proof in [only] if only else ["short", "whole"]:
        tests = [test for test in known if proof == "whole" or test in short]
        if "short" in asked:
            # A test may do more in the whole proof, but those that were not asked do first.
            tests.sort(key=lambda test: test in short)
        asked[proof] = len(tests[:most])
        if by := find_killer(tree, site, proof, tests[:most], findings.seconds):
            killed = proof
            break
    mutation = site.mutation
    return {
        "key": site.key,
        "line": site.line,
        "kind": mutation.kind,
        "before": mutation.before,
        "after": mutation.edit.text,
        "killed": killed,
        "by": by,
        "only": only,
        "reached by": len(known),
        "asked": asked,
    }


def find_killer(
    tree: Tree, site: Site, proof: str, tests: Sequence[str], seconds: dict[str, float]
) -> str:
    """
    Return what a proof notices the mutant by, empty where it does not.

    What fails without the mutant too says nothing, and is left out.
    """
    left = list(tests)
    while left:
        patience = 120 + 4 * sum(seconds.get(test, 0.0) for test in left)
        tree.put(site.path, site.source.apply(site.mutation.edit))
        try:
            run = tree.run(proof, "-x", *left, seconds=patience, log="mutant.log")
        finally:
            tree.put(site.path, site.source.text)
        if run.passed:
            return ""
        suspects = run.failed or left
        clean = tree.run(proof, *suspects, seconds=patience, log="clean.log")
        if clean.passed:
            others = "too much time" if run.code is None else "a crash"
            return run.failed[0] if run.failed else others
        # A page has more blocks than those that ran.
        done = {span.test for span in run.spans}
        left = [test for test in left if test not in {*suspects, *done}]
    return ""


def read_results(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the seed that a file was begun with, and the last result of each mutant by its key."""
    seed = ""
    results: dict[str, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        record = json.loads(line)
        seed = record.get("seed", seed)
        if "key" in record:
            results[record["key"]] = record
    return seed, results


def append_result(path: Path, record: dict[str, Any]) -> None:
    """Add a line to a file of results."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def draw_table(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown, and the sums below it."""
    yield "| line | what was changed | killed by |"
    yield "|---|---|---|"
    sums = dict.fromkeys(KILLERS, 0)
    for record in results:
        sums[record["killed"]] += 1
        change = f"{_cell(record['before'])} → {_cell(record['after'])}"
        by = KILLERS[record["killed"]] + (f": {_cell(record['by'])}" if record["by"] else "")
        yield f"| `{record['line']}` | {record['kind']}: {change} | {by} |"
    yield ""
    for killed, number in sums.items():
        yield f"- killed by {KILLERS[killed]}: {number}"
    yield ""
    either = sums["short"] + sums["whole"]
    yield f"Of those that either kills, the short proof kills {sums['short']} of {either}."


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{text if len(text) <= 70 else text[:69] + '…'}`"
