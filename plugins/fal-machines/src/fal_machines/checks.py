"""
What ``fal-core doctor`` checks about machines.
"""

from __future__ import annotations

from collections import Counter

from fal_core.checks import Check, Finding
from fal_core.machines import discover_devices
from fal_machines import detection
from fal_machines.sizes import write_size


def health_checks() -> list[Check]:
    """
    Return the checks of this plugin.
    """
    return [Check("gpus", check_gpus)]


def check_gpus() -> Finding:
    """
    Check that the GPUs of this machine can be read.
    """
    found = detection.detect()
    if found.faults:
        detection.remember(found.faults)
        return Finding(False, " ".join(found.faults))
    devices = discover_devices()
    if not devices:
        return Finding(True, found.absent or "This machine has no GPU.")
    counted = Counter((device.name, device.memory) for device in devices)
    told = (
        f"{number} of {name} with {write_size(size)}"
        for (name, size), number in counted.items()
    )
    return Finding(True, f"{'; '.join(told)}.")
