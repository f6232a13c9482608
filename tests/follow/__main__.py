"""
Follow pages of the documentation from wheels, print their steps and times, and fail where
what comes is not what they show.

``python -m follow`` follows the first page, the tutorial and every how-to; paths name others.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from house.wheels import build_wheels

from follow.following import Step, first_result, follow
from follow.pages import find_pages, read_page

WIDTH = 100


def main(arguments: list[str]) -> int:
    """Follow the pages, and return the exit code: 1 where one of them is wrong."""
    parser = argparse.ArgumentParser(prog="follow", description=__doc__)
    parser.add_argument("pages", nargs="*", help="Paths below the repository.")
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="The Python of the reader; this one by default.",
    )
    parser.add_argument(
        "--cold", action="store_true", help="Begin each page with empty caches of packages."
    )
    parser.add_argument(
        "--quick", action="store_true", help="Install with uv where pages have pip."
    )
    parser.add_argument(
        "--keep", action="store_true", help="Keep the folders of the pages, and say where."
    )
    options = parser.parse_args(arguments)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # Where a shell started this aside, services would not hear their Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What was started is ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="follow-"))
    wrong = []
    try:
        started = time.monotonic()
        wheels = build_wheels(folder)
        building = time.monotonic() - started
        for number, name in enumerate(options.pages or find_pages()):
            page = read_page(name)
            print(f"{name}, with {options.python}", flush=True)
            steps = []
            place = folder / f"page-{number}"
            for step in follow(
                page,
                wheels,
                options.python,
                place,
                building=building,
                cold=options.cold,
                quick=options.quick,
            ):
                steps.append(step)
                print_step(name, step)
            print_sums(steps)
            wrong += [name] if any(step.wrong for step in steps) else []
            if not options.keep:
                shutil.rmtree(place)
    finally:
        if options.keep:
            print(f"Kept in {folder}.")
        else:
            shutil.rmtree(folder)
    if wrong:
        print(f"Wrong: {', '.join(wrong)}.")
    return 1 if wrong else 0


def print_step(name: str, step: Step) -> None:
    """Print a step, with what is wrong with it."""
    title = " ".join(step.title.split())
    title = title if len(title) <= WIDTH else title[: WIDTH - 1] + "…"
    seconds = "not followed" if step.seconds is None else f"{step.seconds:10.1f} s"
    reason = f" ({step.reason})" if step.reason else ""
    print(f"  line {step.line:4}  {seconds:12}  {title}{reason}", flush=True)
    if step.wrong:
        print(f"{name}:{step.line}: {step.title}\n{step.wrong}", flush=True)


def print_sums(steps: list[Step]) -> None:
    """Print how long the page takes, and how long it is to its first result."""
    taken = [step.seconds for step in steps if step.seconds is not None]
    print(
        f"  {sum(taken):.1f} s for {len(taken)} steps; "
        f"{len(steps) - len(taken)} blocks not followed",
    )
    seconds, way = first_result(steps)
    if way:
        parts = ", ".join(f"{step.seconds or 0.0:.1f} s {shorten(step.title)}" for step in way)
        print(f"  first result after {seconds:.1f} s: {parts}")
    print()


def shorten(title: str) -> str:
    """Return the first words of a command."""
    words = title.split()
    return " ".join(words[:3]) + (" …" if len(words) > 3 else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
