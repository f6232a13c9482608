"""The conformance suite is tested itself: broken hosts break the laws they should."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterable

import pytest
from declarations import Mutant
from mutants.wrappers import Broken, Notes
from runner import collect_laws, run_laws
from table import MUTANTS

from fal_core.abilities import ExecutionStatus
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

#: How many other laws each broken host is tried on where not all are.
SAMPLE = 3

#: The broken hosts that are tried: a seeded tenth, or all.
TRIED = MUTANTS if EVERY else random.Random(2).sample(list(MUTANTS), len(MUTANTS) // 10)


def test_every_law_is_broken_by_a_host() -> None:
    """For each law there is a host that breaks it and no other."""
    laws = collect_laws()
    alone = {mutant.breaks[0] for mutant in MUTANTS if len(mutant.breaks) == 1}
    assert alone == set(laws)
    assert {law for mutant in MUTANTS for law in mutant.breaks} == alone


def test_names_of_broken_hosts_differ() -> None:
    """A broken host is listed once."""
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(names) == sorted(set(names))


class CannotList(Broken):
    """Fails to list detached work."""

    def executions(self) -> Iterable[ExecutionStatus]:
        raise LookupError("nothing can be listed")


def test_a_law_of_detached_work_that_fails_leaves_none_running() -> None:
    """Work that a law has detached ends with the law, even if the law fails."""
    law, inner = "test_detached_work_is_listed_until_it_ends", LocalHost()
    before = {status.reference for status in inner.executions()}
    assert run_laws(CannotList(inner), [law]) == {law: "failed"}

    def left() -> list[ExecutionStatus]:
        new = (status for status in inner.executions() if status.reference not in before)
        return [status for status in new if status.name == "wait" and not status.ended]

    assert wait_until(lambda: not left(), 60.0)
    inner.close()


@pytest.mark.faults
@pytest.mark.parametrize("mutant", TRIED, ids=lambda mutant: mutant.name)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_host_breaks_its_laws_and_no_other(mutant: Mutant) -> None:
    """
    A broken host fails the laws that it is meant to break.

    It passes all others; a seeded sample of them is tried, or all if the host is
    incomplete.
    """
    others = [law for law in collect_laws() if law not in mutant.breaks]
    sample = random.Random(mutant.name).sample(others, SAMPLE)
    others = [law for law in others if law in sample or (EVERY and meets(law, mutant))]
    assert breaks_them(mutant)
    # On a host of their own: what a broken law leaves running is not their matter.
    held = outcomes(mutant, others)
    assert [law for law in others if held[law].startswith("failed")] == []


def breaks_them(mutant: Mutant) -> bool:
    """
    Return whether a broken host fails the laws that it is meant to break.

    How many calls run as one batch depends on the load of the machine. So a law that is about
    batches may overlook a fault twice, but not six times.
    """
    broken = dict.fromkeys(mutant.breaks, "failed")
    return any(outcomes(mutant, mutant.breaks) == broken for _ in range(6))


def meets(law: str, mutant: Mutant) -> bool:
    """Return whether *law* may call a function that *mutant* is broken for."""
    return not mutant.of or law not in called() or not mutant.of.isdisjoint(called()[law])


@functools.cache
def called() -> dict[str, set[str]]:
    """Return the names of the functions that each law calls, for all that do."""
    host = Notes(LocalHost())
    try:
        run_laws(host)
    finally:
        host.close()
    return dict(host.called)


def outcomes(mutant: Mutant, laws: Iterable[str]) -> dict[str, str]:
    """Return how *laws* end on a host that is broken in that way, and made for them."""
    host = mutant.make()
    try:
        return run_laws(host, laws)
    finally:
        host.close()
