"""
A first look: one function, its own requirements, and every way to call it.

Run it with ``python3 dev.py example``. The functions need the package humanize,
which is not installed for this program; each run after the first finds the
environment built.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, as_completed

from fal_core import function

REQUIREMENTS = ["humanize==4.12.3"]


@function("virtualenv", requirements=REQUIREMENTS)
def describe(size: int) -> str:
    """Return *size* bytes as people write it."""
    import humanize

    return f"{humanize.naturalsize(size)} (by process {os.getpid()})"


@function("virtualenv", requirements=REQUIREMENTS)
def work(steps: int) -> str:
    """Report each step while it runs; the lines arrive here as they are printed."""
    import humanize

    started = time.monotonic()
    for step in range(1, steps + 1):
        time.sleep(0.2)
        print(f"  the {humanize.ordinal(step)} of {steps} steps is done", flush=True)
    return humanize.precisedelta(time.monotonic() - started, minimum_unit="milliseconds")


@function("virtualenv", requirements=REQUIREMENTS, max_concurrency=2)
def square(number: int) -> int:
    """Return the square of *number*."""
    return number * number


@function("virtualenv", requirements=REQUIREMENTS)
def count(limit: int) -> Iterator[str]:
    """Yield numbers as words, one by one."""
    import humanize

    for number in range(1, limit + 1):
        yield humanize.apnumber(number)


def main() -> None:
    """Call each function, and say what happened and how long it took."""
    installed = importlib.util.find_spec("humanize") is not None
    print(f"This is process {os.getpid()}; humanize is installed here: {installed}.")

    started = time.perf_counter()
    print(f"\nA first call builds the environment: {describe(123_456_789)}")
    first = time.perf_counter() - started
    started = time.perf_counter()
    print(f"A second one finds a warm worker:    {describe(987_654_321)}")
    second = time.perf_counter() - started
    print(f"They took {first:.2f} s and {second * 1000:.2f} ms.")

    print("\nWhat a function prints arrives while it runs:")
    print(f"It took {work(5)}.")

    started = time.perf_counter()
    futures: list[Future[int]] = [square.submit(number) for number in range(100)]
    total = sum(future.result() for future in as_completed(futures))
    seconds = time.perf_counter() - started
    print(f"\n100 submitted calls gave the sum {total} in {seconds * 1000:.0f} ms.")

    print("\nA generator is a stream:", end="", flush=True)
    for word in count(5):
        print(f" {word}", end="", flush=True)
    print(".")


if __name__ == "__main__":
    main()
