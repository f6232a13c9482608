"""
The conformance suite is tested itself: broken hosts break the laws they should.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable

import pytest
from declarations import Mutant
from runner import collect_laws, run_laws
from table import MUTANTS

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

#: How many other laws each broken host is tried on where not all are.
SAMPLE = 3

#: The broken hosts that are tried: a seeded tenth, or all.
TRIED = MUTANTS if EVERY else random.Random(2).sample(list(MUTANTS), len(MUTANTS) // 10)


def test_every_law_is_broken_by_a_host() -> None:
    """
    For each law there is a host that breaks it, and each such host is of a known law.
    """
    laws = set(collect_laws())
    assert {law for mutant in MUTANTS for law in mutant.breaks} == laws
    assert {law for mutant in MUTANTS for law in mutant.also} <= laws


def test_names_of_broken_hosts_differ() -> None:
    """
    A broken host is listed once.
    """
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.faults
@pytest.mark.parametrize("mutant", TRIED, ids=lambda mutant: mutant.name)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_host_breaks_its_laws_and_no_other(mutant: Mutant) -> None:
    """
    A broken host fails the laws it is there for, and those that it cannot help.

    Of all others it breaks none; a seeded sample of them is tried, or all.
    """
    declared = {*mutant.breaks, *mutant.also}
    others = [law for law in collect_laws() if law not in declared]
    if not EVERY:
        others = random.Random(mutant.name).sample(others, SAMPLE)
    assert outcomes(mutant, mutant.breaks) == dict.fromkeys(mutant.breaks, "failed")
    # On a host of their own: what a broken law leaves running is not their matter.
    held = outcomes(mutant, others)
    assert [law for law in others if held[law] == "failed"] == []


def outcomes(mutant: Mutant, laws: Iterable[str]) -> dict[str, str]:
    """
    Return how *laws* end on a host that is broken in that way, and made for them.
    """
    host = mutant.make()
    try:
        return run_laws(host, laws)
    finally:
        host.close()
