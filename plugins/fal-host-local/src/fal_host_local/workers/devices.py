"""
Devices of workers: claimed before a worker starts, and held by the keeper while it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fal_host_local.options import asks_for_devices

if TYPE_CHECKING:
    from fal_core.pools import Start
    from fal_core.workers import Worker
    from fal_host_local.workers.keepers import Keeper
    from fal_host_local.workers.starting import Place


def start_with_devices(
    find_keeper: Callable[[], Keeper], start: Start, place: Place, wait: float | None
) -> Worker:
    """
    Start a worker with the devices that its calls ask for.

    Arguments:
        wait: Seconds to wait for them where the options do not say. None for as long as it
            takes.

    Raises:
        DevicesHeld: Others hold them.

        HostError: The worker cannot be started.
    """
    from fal_host_local.workers.starting import start_worker

    if not asks_for_devices(start.host_options):
        return start_worker(find_keeper, start, place)
    # Devices are not held while an environment is built.
    start.build()
    # A host around this one may have options of another class.
    own = getattr(start.host_options, "wait", None)
    place.claim = claim = start.claim_devices(wait if own is None else own)
    try:
        return start_worker(find_keeper, start, place)
    finally:
        # The keeper has it from now on.
        if claim is not None:
            claim.release()
