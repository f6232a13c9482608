"""
Device lines: runners that wait for GPUs, and get them in their order.

A GPU is claimed as every host of the machine claims it, so nobody else has it. One that
comes later passes those who were before it only where it takes nothing that they wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor

import attrs

from fal_core.claims import (
    Claim,
    ClaimsUnavailable,
    DevicesHeld,
    Want,
    Wishes,
    claim_devices,
    why_missing,
)
from fal_core.machines import Device
from fal_server.devices.inventories import Inventory

logger = logging.getLogger(__name__)

#: Seconds between two looks whether a device is free.
_PAUSE = 0.25

#: Seconds after which the drivers are asked again while nobody comes.
_AGAIN = 10.0


@attrs.define(eq=False)
class Turn:
    """
    The place of one runner in the line.

    Attributes:
        wants: What it asks for: of several any one, the first before the others.

        claim: Is resolved with what it gets, and with None once it wants nothing any more.

        reason: Why it waits, as a sentence. Empty where it has not had to. Where it has got
            what it asked for, this is what it waited for.

        is_possible: Whether this machine has such devices at all.

        granted_at: When it got them, in seconds of the monotonic clock; 0 until then.
    """

    wants: Sequence[Want]
    claim: asyncio.Future[Claim | None]
    reason: str = ""
    is_possible: bool = True
    granted_at: float = attrs.field(default=0.0, init=False)
    _changed: Callable[[], None] = attrs.field(default=lambda: None, repr=False)
    _began: float = attrs.field(factory=time.monotonic, init=False)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands in the line."""
        return not self.claim.done()

    @property
    def seconds(self) -> float:
        """For how long it has waited."""
        return (self.granted_at or time.monotonic()) - self._began

    @property
    def waited(self) -> str:
        """For how long it has waited for what, as a sentence. Empty where it has not had to."""
        return f"It has waited for {self.seconds:.0f} s. {self.reason}" if self.reason else ""

    def leave(self) -> None:
        """Want nothing any more."""
        if self.is_waiting:
            self.claim.set_result(None)

    def grant(self, claim: Claim) -> None:
        """Get what it has waited for."""
        self.granted_at = time.monotonic()
        self.claim.set_result(claim)

    def wait(self, reason: str, *, is_possible: bool) -> None:
        """Wait on, and tell if the *reason* is another."""
        if (self.reason, self.is_possible) != (reason, is_possible):
            self.reason, self.is_possible = reason, is_possible
            # In a callback of the event loop: if it fails, others are told nevertheless.
            asyncio.get_running_loop().call_soon(self._changed)


#: What came of one look for one turn: its claim, or why it waits and whether it may get one.
_Outcome = tuple[Turn, Claim | None, str, bool]


@attrs.define(eq=False)
class DeviceLine:
    """
    The line of the runners of one server.

    Arguments:
        threads: Where devices are looked for, and claimed.
    """

    inventory: Inventory
    threads: Executor
    _turns: list[Turn] = attrs.field(factory=list)
    _task: asyncio.Task[None] | None = None
    _woken: asyncio.Event = attrs.field(factory=asyncio.Event)
    _has_come: bool = False
    _wishes: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)
    _wished: Wishes | None = None
    _told: set[str] = attrs.field(factory=set)

    def enter(self, wants: Sequence[Want], changed: Callable[[], None]) -> Turn:
        """
        Stand in the line, behind all others.

        Arguments:
            changed: Called when the reason is another for which it waits.
        """
        turn = Turn(wants, asyncio.get_running_loop().create_future(), changed=changed)
        self._turns.append(turn)
        self._has_come = True
        self.wake()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._attend())
        return turn

    def wake(self) -> None:
        """Look at once: a device may be free."""
        self._woken.set()

    async def close(self) -> None:
        """Have nobody wait any more, and give up what nobody takes."""
        for turn in self._turns:
            turn.leave()
        self.wake()
        if self._task is not None:
            await self._task

    async def _attend(self) -> None:
        loop = asyncio.get_running_loop()
        while turns := [turn for turn in self._turns if turn.is_waiting]:
            self._turns = turns
            self._woken.clear()
            oldest, self._has_come = (0.0 if self._has_come else _AGAIN), False
            try:
                outcomes = await loop.run_in_executor(self.threads, self._look, turns, oldest)
            except Exception:
                # Those who wait do so until it works.
                logger.exception("Devices could not be claimed")
                outcomes = []
            for outcome in outcomes:
                _settle(*outcome)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _PAUSE)
        self._turns = []
        self._wishes.close()
        self._wished = None
        self._told.clear()

    # -- in a thread, one at a time ------------------------------------------------------

    def _look(self, turns: Sequence[Turn], oldest: float) -> list[_Outcome]:
        self.inventory.look(oldest)
        outcomes = list(self._serve(turns))
        held = [turn for turn, claim, _, is_possible in outcomes if is_possible and not claim]
        try:
            self._wish(held)
        except ClaimsUnavailable:
            # The runners that claim devices are told.
            pass
        return outcomes

    def _serve(self, turns: Sequence[Turn]) -> Iterator[_Outcome]:
        found, devices = self.inventory.found, self.inventory.visible
        left = devices
        for turn in turns:
            if missing := why_missing(turn.wants, found):
                yield turn, None, missing, False
                continue
            try:
                claim = self._claim(turn.wants, left)
            except ClaimsUnavailable as error:
                self._tell(str(error))
                yield turn, None, str(error), True
                continue
            if claim is None:
                # Those behind it take none of these.
                left = _without(left, _fitting(turn.wants, devices))
            wanted = " or ".join(str(want) for want in turn.wants if want.is_possible(devices))
            reason = f"It waits for {wanted}: others hold that, or came before."
            yield turn, claim, reason, True

    def _claim(self, wants: Sequence[Want], devices: Sequence[Device]) -> Claim | None:
        possible = [want for want in wants if want.is_possible(devices)]
        if not possible:
            return None
        try:
            return claim_devices(possible, wait=0, devices=devices)
        except DevicesHeld as error:
            for sentence in error.holders:
                self._tell(f"A runner waits. {sentence}")
            return None

    def _wish(self, turns: Sequence[Turn]) -> None:
        """Have idle workers of others give way."""
        devices = self.inventory.visible
        uuids = {each.uuid for turn in turns for each in _fitting(turn.wants, devices)}
        if self._wished is None or self._wished.uuids != uuids:
            self._wishes.close()
            self._wished = self._wishes.enter_context(Wishes(uuids))
        self._wished.tell()

    def _tell(self, sentence: str) -> None:
        """Tell the operator, once."""
        if sentence not in self._told:
            self._told.add(sentence)
            logger.info("%s", sentence)


def _settle(turn: Turn, claim: Claim | None, reason: str, is_possible: bool) -> None:
    if claim is None:
        if turn.is_waiting:
            turn.wait(reason, is_possible=is_possible)
    elif turn.is_waiting:
        turn.grant(claim)
    else:
        claim.release()


def _fitting(wants: Iterable[Want], devices: Sequence[Device]) -> list[Device]:
    """Return the devices of the wants that can be had at all."""
    return [
        device
        for want in wants
        if want.is_possible(devices)
        for device in want.fitting(devices)
    ]


def _without(devices: Sequence[Device], taken: Sequence[Device]) -> list[Device]:
    """Return *devices* without those that are *taken*, their slices, and what these are of."""
    whole = {device.uuid for device in taken}
    gone = whole | {device.parent for device in taken if device.parent is not None}
    return [each for each in devices if each.uuid not in gone and each.parent not in whole]
