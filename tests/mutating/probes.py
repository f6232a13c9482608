"""Probes: calls beside statements, which tell what tests reach them."""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

import attrs

from mutating.mutations import Edit, Source, head_of

# It stands in modules that travel to processes with nothing installed, and must never be
# felt there. A process inherits the names of the worker and the test, unless its variables
# are its own. The file is there already: where it is not, as in a container, nothing is
# written. A site is written down once in 20 ms for each process and test.
_PROBE = """\
def _mutating_probe(site, _seen={}):
    try:
        import os, time
        now = time.time_ns()
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        key = site, os.getpid(), test
        if now - _seen.get(key, 0) > 20_000_000:
            _seen[key] = now
            line = f"{site}\\t{now}\\t{worker}\\t{test}\\n"
            file = os.open(FILE, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
    except Exception:
        pass
"""


def add_probes(source: Source, statements: Mapping[int, ast.stmt], file: str) -> list[Edit]:
    """
    Return the edits by which *statements* write their numbers to *file* when reached.

    Line numbers stay. Whether the edits compile is for the caller to see.
    """
    program = f"exec({_PROBE.replace('FILE', repr(file))!r})"
    begin_module = Edit(0, 0, f"{program}; ")
    for first in source.tree.body:
        is_said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        if not is_said and getattr(first, "module", "") != "__future__":
            break
        begin_module = Edit(source.end_of(first), source.end_of(first), f"; {program}")
    edits = []
    for number, statement in statements.items():
        call = f"_mutating_probe({number})"
        if head := head_of(statement):
            begin, end = source.begin_of(head), source.end_of(head)
            edits += [Edit(begin, begin, f"({call}, ("), Edit(end, end, "))[1]")]
        else:
            begin = source.begin_of(statement)
            edits.append(Edit(begin, begin, f"{call}; "))
    return [*edits, begin_module]


@attrs.frozen
class Span:
    """One test as it ran: in which process of xdist, from when to when in nanoseconds."""

    test: str
    worker: str
    begun: int
    ended: int
    failed: bool

    @property
    def unit(self) -> str:
        """What can be run alone: the test, or its page, whose blocks are one program."""
        return unit_of(self.test)


def unit_of(test: str) -> str:
    """Return what can be run alone of the test or block of that name."""
    file = test.partition("::")[0]
    return file if file.endswith(".md") else test


def read_reached(lines: Iterable[str], spans: Iterable[Span]) -> dict[int, set[str]]:
    """
    Return the tests that reached each site, from the *lines* that probes wrote.

    Among them is the empty name where it was reached outside of tests.
    """
    workers: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.begun):
        workers[span.worker].append(span)
    units = {span.test: span.unit for own in workers.values() for span in own}
    begins = {worker: [span.begun for span in own] for worker, own in workers.items()}
    reached: dict[int, set[str]] = defaultdict(set)
    for line in lines:
        number, time, worker, test = line.rstrip("\n").split("\t")
        # After the name is the part of the test, as in "(call)".
        named = units.get(test.rpartition(" ")[0], "")
        found = {named} if named else set()
        for each in [worker] if worker in workers else list(workers):
            at = bisect_right(begins[each], int(time)) - 1
            # What a test has started may get there after the test.
            if at >= 0 and (each == worker or int(time) <= workers[each][at].ended):
                found.add(workers[each][at].unit)
        reached[int(number)] |= found or {""}
    return dict(reached)


def order_tests(
    reached: set[str], test_file: str, seconds: Mapping[str, float], *, is_outside: bool
) -> list[str]:
    """
    Return the tests to ask about a site: those of its own test file first, then the quickest.

    A module is imported once, by whichever test comes first: what runs then is also asked of
    the test file, and of all tests where it was before them.
    """
    own = {test for test in seconds if test.startswith(f"{test_file}::")}
    found = reached | (own if is_outside and reached else set())
    found |= set(seconds) if "" in reached else set()
    return sorted(
        found - {""},
        key=lambda test: (test not in own, test not in reached, seconds.get(test, 0.0), test),
    )
