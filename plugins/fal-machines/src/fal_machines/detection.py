"""Detection: the accelerators of this machine, or why there are none."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import attrs

from fal_core.machines import Device

logger = logging.getLogger("fal_machines")


@attrs.frozen(kw_only=True)
class Detection:
    """
    What was found.

    Attributes:
        devices: The GPUs, each followed by its slices.

        absent: Why there can be none, as a sentence. None where the driver answered.

        faults: What could not be read although it is there, as sentences.
    """

    devices: tuple[Device, ...] = ()
    absent: str | None = None
    faults: tuple[str, ...] = ()


_told: set[str] = set()


def detect() -> Detection:
    """Ask the driver for the GPUs of this machine."""
    import ctypes

    try:
        # Most machines have no driver, and need not import what reads it.
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return Detection(absent="No NVIDIA driver is installed.")
    from fal_machines.nvidia import NotLoaded, read_gpus

    try:
        devices, faults = read_gpus()
    except NotLoaded:
        return Detection(absent="An NVIDIA driver is installed, but it is not loaded.")
    return Detection(devices=tuple(devices), faults=tuple(faults))


def find_devices() -> tuple[Device, ...]:
    """Return the GPUs that can be used. What is wrong with others is logged, once."""
    found = detect()
    for fault in found.faults:
        if fault not in _told:
            logger.warning("%s", fault)
    remember(found.faults)
    return found.devices


def remember(faults: Iterable[str]) -> None:
    """Note that *faults* have been said."""
    _told.update(faults)
