"""
Run everything that proves this repository, and print a table of its steps.

``python -m proof`` runs all. ``--changed-since`` runs what the changes since a revision ask
for, and a seventh of the rest, another one each day.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from proof.changes import find_base, find_changes
from proof.steps import ROOT, STEPS, Step, prepare, variables

#: In how many days all of the rest has been run.
DAYS = 7
#: How many steps run at once: most of their tests wait most of the time.
PLACES = 2
#: Lines of output that are shown of a step that went well.
SHOWN = 45


@attrs.frozen(kw_only=True)
class Result:
    """What came of a step: its exit code, None for one that was left out, and the reason."""

    step: Step
    code: int | None
    seconds: float = 0.0
    counts: Mapping[str, int] = attrs.field(factory=dict)
    why: str = ""


def main(arguments: list[str]) -> int:
    """Run the steps, print their table, and return 1 where one of them failed."""
    parser = argparse.ArgumentParser(prog="everything", description=__doc__)
    parser.add_argument("steps", nargs="*", help="Parts of the names of steps; all by default.")
    parser.add_argument(
        "--changed-since",
        nargs="?",
        const="a day",
        metavar="REVISION",
        help="Only what the changes since then ask for, and today's seventh of the rest; "
        "without a revision, since the newest commit that is a day older than the last.",
    )
    parser.add_argument("--minutes", type=float, help="Begin nothing after so many.")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prepare()
    print(f"prepared after {time.monotonic() - started:.0f} s", flush=True)
    revision = options.changed_since
    revision = find_base() if revision == "a day" else revision
    day = int(time.time()) // (24 * 3600) % DAYS
    steps = [each for each in STEPS if is_wanted(each, options.steps)]
    if revision:
        steps = list(choose(steps, find_changes(revision), day))
    results = []
    environment = dict(variables(is_whole=revision is None))
    first = [each for each in steps if each.is_first]
    later = [each for each in steps if not each.is_first]
    until = started + 60 * options.minutes if options.minutes else None
    for group, places in ((first[:1], 1), (first[1:], PLACES), (later, PLACES)):
        with ThreadPoolExecutor(places) as pool:
            tried = [
                pool.submit(run, each, environment, revision, day, until) for each in group
            ]
            results += [each.result() for each in tried]
    print_table(results)
    print(f"{(time.monotonic() - started) / 60:.1f} minutes in all")
    return 1 if any(each.code for each in results) else 0


def is_wanted(step: Step, names: Sequence[str]) -> bool:
    """Return whether a step is one of those that are named."""
    return not names or any(name in step.name or name in step.command[0] for name in names)


def choose(steps: Sequence[Step], changes: frozenset[str], day: int) -> Iterator[Step]:
    """
    Yield the steps for a change: the first, those that it asks for, those of which a share
    is run, and today's of the others. The short proof is run beside, as it is by people.
    """
    for number, step in enumerate(steps):
        is_todays = number % DAYS == day
        if step.command == ["tests"]:
            continue
        if step.is_first or step.is_shared or is_todays or step.is_asked_for(changes):
            yield step


def run(
    step: Step,
    environment: Mapping[str, str],
    revision: str | None,
    day: int,
    until: float | None,
) -> Result:
    """Run one step, and print the end of its output, or all of it where it failed."""
    why = step.missing()
    left = None if until is None else (until - time.monotonic()) / 60
    if left is not None and left < 0.5 and not step.is_first:
        why = "the minutes of this run are over"
    if why is not None:
        print(f"\n==== {step.name}: left out, since {why}", flush=True)
        return Result(step=step, code=None, why=why)
    command = [sys.executable, str(ROOT / "dev.py"), *step.command]
    environment = dict(environment)
    if revision and step.is_shared:
        environment["FAL_CORE_SHARE"] = f"{day}/{DAYS}"
        if step.command == ["rest"]:
            command += ["--", "--changed-since", revision]
            command += ["--minutes", f"{left:.1f}"] if left else []
    started = time.monotonic()
    with tempfile.TemporaryFile() as file:
        code = _wait(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ),
            60 * step.minutes,
        )
        file.seek(0)
        output = file.read().decode(errors="replace")
    seconds = time.monotonic() - started
    lines = output.splitlines()[-SHOWN if code == 0 else 0 :]
    title = f"{step.name}: exit code {code} after {seconds:.0f} s"
    print("\n".join(["", f"==== {step.name}", *lines, f"==== {title}"]), flush=True)
    return Result(step=step, code=code, seconds=seconds, counts=count(output))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Wait for a process; end it and all that it has started where it takes too long."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return 124
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise


def count(output: str) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped, by the last lines of pytest."""
    counts: dict[str, int] = {}
    for line in re.findall(r"^=+ (.* in [\d.]+s.*) =+$", output, re.MULTILINE):
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", line):
            counts[word] = counts.get(word, 0) + int(number)
    return counts


def print_table(results: Sequence[Result]) -> None:
    """Print a line for each step: minutes, counts of tests, and what came of it."""
    width = max(len(each.step.name) for each in results)
    print(f"\n{'step':{width}}  minutes  passed  skipped  failed")
    for each in results:
        passed, skipped = each.counts.get("passed", ""), each.counts.get("skipped", "")
        failed = each.counts.get("failed", 0) + each.counts.get("error", 0)
        end = f"left out: {each.why}" if each.code is None else "failed" if each.code else ""
        print(
            f"{each.step.name:{width}}  {each.seconds / 60:7.1f}  {passed:>6}  {skipped:>7}  "
            f"{failed or '':>6}  {end}".rstrip()
        )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
