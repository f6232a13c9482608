"""States: which states may follow one another in the life of a runner."""

from __future__ import annotations

import pytest

from fal_server.fleet.states import ENDING, TRANSITIONS, Lifecycle, RunnerPhase


def make(*states: RunnerPhase) -> tuple[Lifecycle, list[RunnerPhase]]:
    """Return a lifecycle that has entered *states*, and the list of the changes it reports."""
    changes: list[RunnerPhase] = []
    lifecycle = Lifecycle(lambda: changes.append(lifecycle.state))
    for state in states:
        assert lifecycle.enter(state)
    return lifecycle, changes


def test_every_state_has_its_successors():
    """Each state names its successors; no state follows itself, and none follows an end."""
    assert TRANSITIONS.keys() == set(RunnerPhase)
    assert not TRANSITIONS[RunnerPhase.TERMINATED]
    for state, successors in TRANSITIONS.items():
        assert state not in successors
        assert RunnerPhase.PENDING not in successors


@pytest.mark.parametrize("state", [each for each in RunnerPhase if TRANSITIONS[each]])
def test_every_state_can_end(state: RunnerPhase):
    """A runner may end at any time."""
    assert RunnerPhase.TERMINATED in TRANSITIONS[state]


@pytest.mark.parametrize("ending", [each for each in RunnerPhase if each in ENDING])
def test_ending_runner_stays_ending(ending: RunnerPhase):
    """
    A runner that was asked to end takes no more requests, whatever is reported later, and
    is not asked again.
    """
    lifecycle, changes = make(RunnerPhase.SETUP, ending)
    for state in set(RunnerPhase) - {RunnerPhase.TERMINATED}:
        assert not lifecycle.enter(state)
    assert lifecycle.enter(RunnerPhase.TERMINATED)
    assert lifecycle.ended_from is ending
    assert changes == [RunnerPhase.SETUP, RunnerPhase.TERMINATED]


def test_every_ending_is_shown_as_draining():
    """A runner is shown as draining until it has ended, for whatever reason."""
    leaving = ENDING | {RunnerPhase.RETIRED, RunnerPhase.DRAINING}
    assert {state.label for state in leaving} == {"draining"}
    assert RunnerPhase.SETUP.label == "setup"


@pytest.mark.parametrize(
    ("states", "failed"),
    [
        ([], True),
        ([RunnerPhase.SETUP], True),
        ([RunnerPhase.GIVEN_UP], True),
        ([RunnerPhase.BLOCKED], True),
        ([RunnerPhase.KILLED], False),
        ([RunnerPhase.SICK], False),
        ([RunnerPhase.RUNNING], False),
        ([RunnerPhase.RUNNING, RunnerPhase.GIVEN_UP], False),
    ],
)
def test_a_start_fails_unless_it_was_stopped(states: list[RunnerPhase], failed: bool):
    """A runner that ends before it took requests has failed to start, unless it was killed."""
    lifecycle, _ = make(*states)
    assert not lifecycle.failed_to_start
    lifecycle.enter(RunnerPhase.TERMINATED)
    assert lifecycle.failed_to_start is failed
    assert lifecycle.is_blocked is (RunnerPhase.BLOCKED in states)
