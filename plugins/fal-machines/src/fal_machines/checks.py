"""What ``fal-core doctor`` checks about machines."""

from __future__ import annotations

from collections import Counter

from fal_core.checks import Check, Finding
from fal_core.machines import discover_devices
from fal_core.reprs import show_size
from fal_machines import detection
from fal_machines.catalogues import known_machines
from fal_machines.entries import MachineFileError
from fal_machines.files import find_document


def health_checks() -> list[Check]:
    """Return the checks of this plugin."""
    return [Check("gpus", check_gpus), Check("machine types", check_machine_types)]


def check_gpus() -> Finding:
    """Check that the GPUs of this machine can be read."""
    found = detection.detect()
    if found.faults:
        detection.remember(found.faults)
        return Finding(False, " ".join(found.faults))
    devices = discover_devices()
    if not devices:
        return Finding(True, found.absent or "This machine has no GPU.")
    counted = Counter((device.name, device.memory) for device in devices)
    told = (
        f"{number} of {name} with {show_size(size)}" for (name, size), number in counted.items()
    )
    return Finding(True, f"{'; '.join(told)}.")


def check_machine_types() -> Finding:
    """Check that what the user has declared can be read."""
    try:
        known, document = known_machines(), find_document()
    except MachineFileError as error:
        return Finding(False, str(error))
    if document is None:
        return Finding(True, f"{len(known)} are known.")
    return Finding(True, f"{len(known)} are known, with those of {document.path}.")
