"""
Run everything that proves this repository, and print a table of its steps.

``python -m proof`` runs all. ``--changed-since`` runs the tests that the changes since a
revision ask for, and a seventh of the others, another one each day.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from proof.changes import find_base, find_changes
from proof.steps import ROOT, STEPS, Step, install_pythons, install_ray, variables

#: In how many days all of the rest has been run.
DAYS = 7
#: How many steps run at once: most of their tests wait most of the time.
PLACES = 2
#: Minutes that a step takes beyond its time: it ends with the test that it has begun.
OVERRUN = 0.5
#: Lines of output that are shown of a step that went well.
SHOWN = 45


@attrs.frozen(kw_only=True)
class Result:
    """What came of a step: its exit code, None for one that was left out, and the reason."""

    name: str
    code: int | None
    seconds: float = 0.0
    counts: Mapping[str, int] = attrs.field(factory=dict)
    why: str = ""


@attrs.define(kw_only=True)
class Part:
    """
    The part of everything that a run takes.

    Attributes:
        revision: The changes since then ask for what is run.

        day: Which seventh of the rest is run, from 0.

        until: When nothing is begun any more, in seconds since the epoch.

        left: The usual minutes of the steps that have not begun.
    """

    revision: str
    day: int
    until: float
    left: float

    def take(self, step: Step) -> dict[str, str] | None:
        """
        Return the variables of a step that begins now, and None where the time is too short.

        The time that is left is shared out by what the steps usually take.
        """
        now = time.time()
        time_left = (self.until - now) / 60
        part = step.usual / max(self.left, step.usual)
        self.left -= step.usual
        if not step.is_dividable:
            return {} if step.is_first or step.usual < time_left else None
        if time_left < OVERRUN:
            return None
        until = min(now + 60 * PLACES * part * time_left, self.until) - 60 * OVERRUN
        told = {"FAL_CORE_CHANGED_SINCE": self.revision, "FAL_CORE_UNTIL": str(until)}
        # Of a step that is run for a change alone, and of the rest, a share.
        if step.command == ["rest"] or not is_todays(step, self.day):
            told["FAL_CORE_SHARE"] = f"{self.day}/{DAYS}"
        return told


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
    started = time.time()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = [prepare("install Ray", install_ray), prepare("install Pythons", install_pythons)]
    steps = [each for each in STEPS if is_wanted(each, options.steps)]
    part = None
    if revision := options.changed_since:
        revision = find_base() if revision == "a day" else revision
        day = int(started) // (24 * 3600) % DAYS
        steps = list(choose(steps, find_changes(revision), day))
        until = started + 60 * options.minutes if options.minutes else float("inf")
        left = sum(each.usual for each in steps)
        part = Part(revision=revision, day=day, until=until, left=left)
    environment = dict(variables(is_whole=part is None))
    first = [each for each in steps if each.is_first]
    later = [each for each in steps if not each.is_first]
    for group, places in ((first[:1], 1), (first[1:], PLACES), (later, PLACES)):
        with ThreadPoolExecutor(places) as pool:
            tried = [pool.submit(run, each, environment, part) for each in group]
            results += [each.result() for each in tried]
    print_table(results)
    print(f"{(time.time() - started) / 60:.1f} minutes in all")
    return 1 if any(each.code for each in results) else 0


def prepare(name: str, install: Callable[[], None]) -> Result:
    """Install something, and return how long it took."""
    started = time.time()
    install()
    return Result(name=name, code=0, seconds=time.time() - started)


def is_wanted(step: Step, names: Sequence[str]) -> bool:
    """Return whether a step is one of those that are named."""
    return not names or any(name in step.name or name in step.command[0] for name in names)


def choose(steps: Sequence[Step], changes: frozenset[str], day: int) -> Iterator[Step]:
    """
    Yield the steps for a change: the first, the rest of the tests, those that it asks for, and
    today's of the others. The short proof is run beside, as it is by people.
    """
    for step in steps:
        is_wanted = step.is_first or step.command == ["rest"] or step.is_asked_for(changes)
        if not step.is_whole and (is_wanted or is_todays(step, day)):
            yield step


def is_todays(step: Step, day: int) -> bool:
    """Return whether it is the day of a step, on which it is run even if nothing changed."""
    return step in STEPS and STEPS.index(step) % DAYS == day


def run(step: Step, environment: Mapping[str, str], part: Part | None) -> Result:
    """Run one step, and print the end of its output, or all of it where it failed."""
    added = part.take(step) if part is not None else {}
    why = "too few minutes are left" if added is None else step.missing()
    if why is not None:
        print(f"\n==== {step.name}: left out, since {why}", flush=True)
        return Result(name=step.name, code=None, why=why)
    command = [sys.executable, str(ROOT / "dev.py"), *step.command]
    environment = {**environment, **(added or {})}
    started = time.time()
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
    seconds = time.time() - started
    lines = output.splitlines()[-SHOWN if code == 0 else 0 :]
    title = f"{step.name}: exit code {code} after {seconds:.0f} s"
    print("\n".join(["", f"==== {step.name}", *lines, f"==== {title}"]), flush=True)
    return Result(name=step.name, code=code, seconds=seconds, counts=count(output))


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
    width = max(len(each.name) for each in results)
    print(f"\n{'step':{width}}  minutes  passed  skipped  failed")
    for each in results:
        passed, skipped = each.counts.get("passed", ""), each.counts.get("skipped", "")
        failed = each.counts.get("failed", 0) + each.counts.get("error", 0)
        end = f"left out: {each.why}" if each.code is None else "failed" if each.code else ""
        print(
            f"{each.name:{width}}  {each.seconds / 60:7.1f}  {passed:>6}  {skipped:>7}  "
            f"{failed or '':>6}  {end}".rstrip()
        )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
