"""Inventories: the devices that this machine has, as its drivers have told."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

import attrs

from fal_core.claims import visible_devices
from fal_core.machines import Device, can_discover_devices, discover_devices

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class Inventory:
    """
    The devices of this machine.

    Attributes:
        found: Those that plugins have found, whether or not this process may use them.

        is_bare: Whether they have been asked, and have never found any.
    """

    found: Sequence[Device] = ()
    is_bare: bool = attrs.field(default=False, init=False)
    _looked_at: float | None = None

    @property
    def can_look(self) -> bool:
        """Whether a plugin finds devices. Where none does, nobody knows what there is."""
        return can_discover_devices()

    @property
    def visible(self) -> list[Device]:
        """Those that this process may use and give, as ``CUDA_VISIBLE_DEVICES`` says."""
        return visible_devices(self.found)

    def look(self, oldest: float = 0.0) -> None:
        """
        Ask the plugins, unless they have been asked in the last *oldest* seconds, and log
        what has changed. It may take a while.
        """
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < oldest:
            return
        is_first, self._looked_at = self._looked_at is None, now
        before = {device.uuid for device in self.found}
        self.found = tuple(discover_devices())
        after = {device.uuid for device in self.found}
        self.is_bare = not after and (is_first or self.is_bare)
        if before == after:
            return
        logger.info("GPUs that runners may have: %s.", self._describe())
        for uuid in before - after:
            logger.warning("GPU %s is gone, or its driver no longer tells of it.", uuid)
        if not is_first:
            for uuid in after - before:
                logger.info("GPU %s has come.", uuid)

    def _describe(self) -> str:
        counts = Counter(each.name for each in self.visible if not each.partitioned)
        return ", ".join(f"{count} of {name}" for name, count in counts.items()) or "none"
