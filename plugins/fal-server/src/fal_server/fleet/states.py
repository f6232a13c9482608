"""
The states of a runner, and the one place where it changes from one to another.

    PENDING → BUILDING → SETUP → RUNNING → RETIRED → DRAINING

    from any of these:    KILLED, SICK, GIVEN_UP, BLOCKED   (the ending states)
    from any state:       TERMINATED

States may be skipped: a runner that was found again is RUNNING at once.

A runner that has been told to end now stays in that state until its host says that it
has ended. What it was in then is known as :attr:`Lifecycle.ended_from`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

import attrs

from fal_server.devices.device_lines import Turn


class RunnerPhase(enum.Enum):
    """How far a runner is."""

    #: Its host has not begun with it.
    PENDING = enum.auto()

    #: Its environment is being built.
    BUILDING = enum.auto()

    #: It has been started, and does not take requests yet.
    SETUP = enum.auto()

    #: It takes requests.
    RUNNING = enum.auto()

    #: It takes no other requests, and is drained once the response that asks for its end is
    #: complete.
    RETIRED = enum.auto()

    #: It finishes the requests it has, takes no others, and ends.
    DRAINING = enum.auto()

    #: It was told to end now.
    KILLED = enum.auto()

    #: It was told to end now, because it no longer answers.
    SICK = enum.auto()

    #: It was told to end now, because it does not come up.
    GIVEN_UP = enum.auto()

    #: The same, because the server itself cannot write its state.
    BLOCKED = enum.auto()

    #: It has ended.
    TERMINATED = enum.auto()

    @property
    def label(self) -> str:
        """The state as people are shown it. Why a runner was told to end is not part of it."""
        is_leaving = self in ENDING or self is RunnerPhase.RETIRED
        return "draining" if is_leaving else self.name.lower()


#: States in which a runner was told to end now, and has not yet.
ENDING = frozenset(
    {RunnerPhase.KILLED, RunnerPhase.SICK, RunnerPhase.GIVEN_UP, RunnerPhase.BLOCKED}
)

_STARTING = (RunnerPhase.PENDING, RunnerPhase.BUILDING, RunnerPhase.SETUP)

#: What may follow each state.
TRANSITIONS: Mapping[RunnerPhase, frozenset[RunnerPhase]] = {
    **{
        state: frozenset(_STARTING[place + 1 :])
        | ENDING
        | {RunnerPhase.RUNNING, RunnerPhase.DRAINING, RunnerPhase.TERMINATED}
        for place, state in enumerate(_STARTING)
    },
    RunnerPhase.RUNNING: ENDING
    | {RunnerPhase.RETIRED, RunnerPhase.DRAINING, RunnerPhase.TERMINATED},
    RunnerPhase.RETIRED: ENDING | {RunnerPhase.DRAINING, RunnerPhase.TERMINATED},
    RunnerPhase.DRAINING: ENDING | {RunnerPhase.TERMINATED},
    **{state: frozenset({RunnerPhase.TERMINATED}) for state in ENDING},
    RunnerPhase.TERMINATED: frozenset(),
}


@attrs.define(eq=False)
class Lifecycle:
    """
    The state of one runner.

    Arguments:
        changed: Called after each change, but for those to an ending state: a runner that
            was told to end keeps its place until it has.

    Attributes:
        came_up: Whether it has been RUNNING.

        ended_from: The state before TERMINATED. None while the runner has not ended.

        turn: Its place in the line for devices, also once it has got them. None where it has
            asked for none yet.

        unreached: The host that it waits for, as that cannot be asked now. Empty where it
            waits for none.
    """

    _changed: Callable[[], None] = attrs.field(repr=False)
    state: RunnerPhase = attrs.field(default=RunnerPhase.PENDING, init=False)
    came_up: bool = attrs.field(default=False, init=False)
    ended_from: RunnerPhase | None = attrs.field(default=None, init=False)
    turn: Turn | None = attrs.field(default=None, init=False)
    unreached: str = attrs.field(default="", init=False)

    @property
    def failed_to_start(self) -> bool:
        """Whether it ended before it took requests, and nobody had killed it."""
        killed = (RunnerPhase.KILLED, RunnerPhase.SICK)
        has_ended = self.state is RunnerPhase.TERMINATED
        return has_ended and not self.came_up and self.ended_from not in killed

    @property
    def may_start(self) -> bool:
        """Whether nobody has told it to end before it was up."""
        return self.state in _STARTING

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for devices or for a host, and is still wanted."""
        return bool(self.unreached) or (self.turn is not None and self.turn.is_waiting)

    @property
    def waits_for(self) -> str:
        """
        What it waits for, as a sentence for those who may see its log. Empty where it does not
        wait.

        It has no error of a host: those name what the machine of the server runs on.
        """
        if self.unreached:
            return f"It waits for host {self.unreached}, which cannot be reached now."
        return self.turn.reason if self.turn is not None and self.turn.is_waiting else ""

    @property
    def is_blocked(self) -> bool:
        """Whether it was given up because the server itself cannot write its state."""
        return RunnerPhase.BLOCKED in (self.state, self.ended_from)

    @property
    def was_told_to_end(self) -> bool:
        """Whether it is told to end although nothing is wrong with it."""
        return self.state in (RunnerPhase.DRAINING, RunnerPhase.KILLED)

    def enter(self, state: RunnerPhase) -> bool:
        """
        Change to *state*, and return whether that was possible.

        A state that cannot follow the present one is ignored: a runner may come up just
        after it was told to end.
        """
        if state not in TRANSITIONS[self.state]:
            return False
        if state is RunnerPhase.TERMINATED:
            self.ended_from = self.state
        self.came_up = self.came_up or state is RunnerPhase.RUNNING
        self.state = state
        if state not in _STARTING:
            self.unreached = ""
            if self.turn is not None:
                self.turn.leave()
        if state not in ENDING:
            self._changed()
        return True
