"""Devices of workers: claimed before a worker starts, and held by the keeper while it lives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from fal_core.errors import UnsupportedError
from fal_host_local.options import Terms, asks_for_devices

if TYPE_CHECKING:
    from fal_core.pools import Start
    from fal_core.workers import Worker
    from fal_host_local.workers.keepers import Keeper
    from fal_host_local.workers.places import Placement


def start_on_terms(
    find_keeper: Callable[[], Keeper], start: Start, place: Placement, terms: Terms
) -> Worker:
    """
    Start a worker with the devices that its calls ask for, and with its limits.

    Raises:
        DevicesHeld: Others hold them.

        HostError: The worker cannot be started.
    """
    from fal_host_local.workers.starting import start_worker

    place.claim = claim = place.take_given()
    if claim is not None:
        start.devices = claim.devices
    elif asks_for_devices(start.host_options):
        # Devices are not held while an environment is built.
        start.build()
        # A host around this one may have options of another class.
        own = getattr(start.host_options, "wait", None)
        place.claim = claim = start.claim_devices(terms.wait if own is None else own)
    try:
        if terms.enforce or not terms.network:
            limit(start, place, terms)
        return start_worker(find_keeper, start, place)
    finally:
        # The keeper has it from now on.
        if claim is not None:
            claim.release()


def limit(start: Start, place: Placement, terms: Terms) -> None:
    """
    Have a worker keep to the limits of the machine that its calls declare, and say which.

    Raises:
        UnsupportedError: This machine cannot keep the limits, or take the network away.
    """
    if not sys.platform.startswith("linux"):
        raise UnsupportedError(
            "local", "hold calls to limits", "Only Linux can; leave enforce= and network= out."
        )
    from fal_host_local.limits import no_network
    from fal_host_local.limits.cgroups import find_hierarchies
    from fal_host_local.limits.limits import WorkerLimits, describe_once

    machine = place.claim.machine if terms.enforce and place.claim is not None else None
    held = None if machine is None else start.environment.held_limits()
    place.limits = limits = WorkerLimits(machine, terms.network, find_hierarchies(), held)
    if not terms.network:
        if problem := no_network.problem():
            raise UnsupportedError("local", "run functions without a network", problem)
        place.enter_network = no_network.enter
    if said := describe_once(limits):
        start.say(said)
