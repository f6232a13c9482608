"""The laws of kinds of environment are tested themselves: broken kinds break them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import broken_kinds as kinds
import pytest
from broken_kinds import RegisteredKind
from runner import collect_laws, run_laws

LAWS = Path(__file__).with_name("kind_laws.py")

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

_UNSOLVABLE = "test_an_environment_that_cannot_be_solved_is_an_error"
_WAITERS = "test_who_waits_for_a_build_that_fails_takes_its_error"
_VARIABLES = "test_a_process_sees_the_variables_that_it_is_told"

BROKEN = (
    RegisteredKind(kinds.BuildsUnlocked, "test_many_processes_cause_one_build"),
    RegisteredKind(kinds.BuildsAfterOthers, _WAITERS),
    RegisteredKind(kinds.BuildsAnew, "test_what_is_built_is_found"),
    RegisteredKind(kinds.LosesAField, "test_an_environment_travels_whole"),
    RegisteredKind(kinds.HashesItsName, "test_an_environment_travels_whole"),
    RegisteredKind(kinds.SharesOneKey, "test_environments_that_differ_have_other_keys"),
    RegisteredKind(kinds.ForgetsRequirements, "test_an_extended_environment_is_another"),
    RegisteredKind(kinds.TakesNoInput, "test_a_function_runs_in_what_is_built"),
    RegisteredKind(kinds.ShowsVariables, _VARIABLES),
    RegisteredKind(kinds.HidesVariables, _VARIABLES),
    RegisteredKind(kinds.MountsForNames, "test_a_process_sees_the_folders_that_it_is_told"),
    RegisteredKind(
        kinds.PublishesNothing,
        "test_a_process_is_reached_at_the_ports_that_it_is_told",
        law_timeout=15.0,
    ),
    RegisteredKind(
        kinds.PromisesDescriptors, "test_the_channel_of_an_interpreter_leads_to_its_process"
    ),
    RegisteredKind(
        kinds.LeavesProcesses, "test_a_process_ends_as_its_command_says", law_timeout=15.0
    ),
    RegisteredKind(kinds.BuildsOn, "test_a_build_that_nobody_waits_for_ends"),
    # Its laws wait for what never comes.
    RegisteredKind(kinds.TriesForEver, _UNSOLVABLE, law_timeout=15.0),
    RegisteredKind(kinds.RaisesItsOwn, _UNSOLVABLE),
)


def test_every_law_is_broken_by_a_kind() -> None:
    """For each law there is a kind that breaks it."""
    assert {broken.breaks[0] for broken in BROKEN} == set(collect_laws(LAWS))


def test_a_whole_kind_keeps_all_laws() -> None:
    """A kind that builds in a store, and says why it cannot, passes them all."""
    found = run_laws(RegisteredKind(kinds.Whole), path=LAWS)
    assert found == dict.fromkeys(collect_laws(LAWS), "passed")


@pytest.mark.faults
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.cls.__name__)
def test_a_broken_kind_breaks_its_law_and_no_other(broken: RegisteredKind) -> None:
    """
    A broken kind fails the laws that it is meant to break, and passes all others; a seeded one
    of them is tried, or all.
    """
    others = sorted({*collect_laws(LAWS)} - {*broken.breaks})
    tried = others if EVERY else random.Random(broken.breaks[0]).sample(others, 1)
    expected = {**dict.fromkeys(broken.breaks, "failed"), **dict.fromkeys(tried, "passed")}
    assert run_laws(broken, [*broken.breaks, *tried], path=LAWS) == expected
