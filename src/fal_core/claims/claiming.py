"""Claiming: all the devices that a call asks for, or none."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import attrs

from fal_core.claims.failures import DevicesHeld
from fal_core.claims.holders import holders_of, this_process, use_of
from fal_core.claims.places import (
    lock_file,
    name_of,
    open_directory,
    release,
    write_holder,
)
from fal_core.claims.visible import ORDER, VISIBLE, visible_devices
from fal_core.claims.wants import Want, is_used
from fal_core.claims.wishes import Wishes
from fal_core.errors import Cancelled
from fal_core.machines import Device, Machine, can_discover_devices, discover_devices

#: The file that is locked while somebody takes several devices one after the other.
_GATE = "claiming.lock"

#: Seconds for which one that takes devices is waited for: it may have been stopped.
_GATE_PATIENCE = 1.0

#: Seconds between two attempts, at first and at most.
_TURN, _LONGEST_TURN = 0.02, 0.25

#: Seconds for which devices are waited for that will be free soon, regardless of *wait*.
_ROOM = 5.0

#: Seconds for which devices are waited for in silence.
_SILENCE = 0.5


@attrs.frozen(kw_only=True)
class Claim:
    """
    Devices that nobody else is given while a process has the *descriptors* open.

    A host passes the descriptors to a process that lives as long as the worker, and none
    of them to the worker itself, whose child processes would have them too. Then it
    releases the claim in this process.

    Attributes:
        devices: Those that were claimed, none for a call that runs without.

        machine: The machine that was asked for. None for any.

        descriptors: The locks.

        is_known: Whether anybody knows which devices this machine has. Where nobody does, a
            process sees those that its parent sees.
    """

    devices: tuple[Device, ...] = ()
    machine: Machine | None = None
    descriptors: tuple[int, ...] = ()
    is_known: bool = True

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which a process uses these devices and no others."""
        if not self.is_known:
            return {}
        return {
            VISIBLE: ",".join(device.uuid for device in self.devices),
            ORDER: "PCI_BUS_ID",
        }

    def release(self) -> None:
        """Give up the claim in this process."""
        for descriptor in self.descriptors:
            release(descriptor)


def claim_devices(
    wants: Sequence[Want],
    *,
    wait: float | None = None,
    cancelled: threading.Event | None = None,
    say: Callable[[str], object] | None = None,
    make_room: Callable[[Collection[str]], bool] | None = None,
    devices: Sequence[Device] | None = None,
) -> Claim:
    """
    Claim all the devices that one of *wants* asks for, the first that is free, and wait
    while others hold them.

    Where this machine has no such devices, or no plugin finds any, the claim has none.

    Arguments:
        wait: Seconds to wait. None for as long as it takes.

        cancelled: Is set once nobody wants them any more.

        say: Is told what is waited for, and which devices others use without a claim.

        make_room: Is called with the UUIDs of the devices that would do, while others hold
            them. It gives up what it can, and returns whether some will be free soon.

        devices: Those that may be given. None for all that this process may use, as plugins
            find them.

    Raises:
        DevicesHeld: Others held them all the time.

        ClaimsUnavailable: The directory of claims cannot be used.

        Cancelled: *cancelled* was set.
    """
    first = wants[0].machine if wants else None
    looks = devices is None
    if devices is None:
        # Most machine types without GPUs are wanted where there are none either.
        if not any(want.count for want in wants):
            return Claim(machine=first)
        if not can_discover_devices():
            return Claim(machine=first, is_known=False)
        devices = visible_devices(discover_devices())
    possible = [want for want in wants if want.is_possible(devices)]
    if not possible:
        return Claim(machine=first)
    if not possible[0].count:
        return Claim(machine=possible[0].machine)
    with Wishes(
        {device.uuid for want in possible for device in want.fitting(devices)}
    ) as wishes:
        waiting = _Waiting(possible, devices, wishes, wait, cancelled, say, make_room)
        claim = waiting.run()
    if say is not None:
        # Others may have begun to use them while they were waited for.
        is_fresh = looks and not waiting.has_waited
        _say_uses(claim, devices if is_fresh else discover_devices(), say)
    return claim


@attrs.define
class _Waiting:
    """
    A wait for devices; the arguments are those of :func:`claim_devices`.

    Attributes:
        has_waited: Whether they were held by others at first.
    """

    wants: Sequence[Want]
    devices: Sequence[Device]
    wishes: Wishes
    wait: float | None
    cancelled: threading.Event | None
    say: Callable[[str], object] | None
    make_room: Callable[[Collection[str]], bool] | None
    has_waited: bool = False

    def run(self) -> Claim:
        """
        Return the claim once it can be had.

        Raises:
            DevicesHeld: It could not within *wait*.

            Cancelled: *cancelled* was set.
        """
        began, turn, said, room_at = time.monotonic(), _TURN, False, -math.inf
        wait = math.inf if self.wait is None else self.wait
        while True:
            claim, holders = _try(self.wants, self.devices)
            if claim is not None:
                return claim
            self.has_waited = True
            self.wishes.tell()
            now = time.monotonic()
            waited = now - began
            if self.make_room is not None and self.make_room(self.wishes.uuids):
                room_at = now
            # Where nobody holds them any more, they have just become free.
            if holders and waited >= wait and now - room_at >= _ROOM:
                raise DevicesHeld(self.wanted, holders, wait)
            if self.say is not None and not said and waited >= _SILENCE:
                said = True
                self.say(f"Waiting for {self.wanted}. {' '.join(holders)}")
            self._pause(min(turn, max(_TURN, wait - waited)))
            turn = min(_LONGEST_TURN, turn * 1.5)

    @property
    def wanted(self) -> str:
        """What is waited for, in words."""
        return " or ".join(map(str, self.wants))

    def _pause(self, seconds: float) -> None:
        if self.cancelled is None:
            time.sleep(seconds)
        elif self.cancelled.wait(seconds):
            raise Cancelled


def _try(
    wants: Sequence[Want], devices: Sequence[Device]
) -> tuple[Claim | None, tuple[str, ...]]:
    """
    Claim the devices of the first of *wants* for which all are free, or find out who holds
    them.
    """
    with open_directory() as directory, _gate(directory):
        for want in wants:
            claim = _claim_all(directory, want, devices)
            if claim is not None:
                return claim, ()
        return None, holders_of(directory, wants, devices)


def _say_uses(claim: Claim, found: Sequence[Device], say: Callable[[str], object]) -> None:
    """
    Tell which of the devices are used by processes that have not claimed them, as *found*
    just now.
    """
    claimed = {device.uuid for device in claim.devices}
    for device in found:
        if device.uuid in claimed and is_used(device):
            say(use_of(device))


def _claim_all(directory: int, want: Want, devices: Sequence[Device]) -> Claim | None:
    taken: list[Device] = []
    held: list[int] = []
    with ExitStack() as undo:
        for device in want.fitting(devices):
            if len(taken) == want.count:
                break
            locks = _lock(directory, device)
            for descriptor in locks or ():
                undo.callback(release, descriptor)
                held.append(descriptor)
            if locks is not None:
                taken.append(device)
        if len(taken) < want.count:
            return None
        undo.pop_all()
    return Claim(devices=tuple(taken), machine=want.machine, descriptors=tuple(held))


def _lock(directory: int, device: Device) -> list[int] | None:
    """Lock one device; None if it is held, or a slice of it is, or what it is a slice of."""
    held: list[int] = []
    if device.parent is not None:
        # Holders of slices share what these are slices of, and nobody gets the whole.
        parent = lock_file(directory, name_of(device.parent), shared=True)
        if parent is None:
            return None
        held.append(parent)
    own = lock_file(directory, name_of(device.uuid), shared=False)
    if own is None:
        for descriptor in held:
            release(descriptor)
        return None
    write_holder(own, this_process())
    return [*held, own]


@contextmanager
def _gate(directory: int) -> Iterator[None]:
    """Let others wait that would take the same devices in another order, and get none."""
    until = time.monotonic() + _GATE_PATIENCE
    gate = lock_file(directory, _GATE, shared=False)
    while gate is None and time.monotonic() < until:
        time.sleep(_TURN / 10)
        gate = lock_file(directory, _GATE, shared=False)
    try:
        yield
    finally:
        if gate is not None:
            release(gate)
