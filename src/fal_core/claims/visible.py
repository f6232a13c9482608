"""Visible devices: those that this process may use, as ``CUDA_VISIBLE_DEVICES`` says."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fal_core.machines import Device

#: The environment variables that a process with devices has.
VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


def visible_devices(devices: Sequence[Device], named: str | None = None) -> list[Device]:
    """
    Return the GPUs among *devices* that this process may use, in the order in which it
    counts them.

    A scheduler names them by their numbers on the PCI bus, by their UUIDs or the beginning
    of these, or by the names of slices. As CUDA has it, nothing counts after a name that is
    wrong.

    Arguments:
        named: What names them; ``CUDA_VISIBLE_DEVICES`` of this process where it is None.
    """
    gpus = [device for device in devices if device.kind in ("gpu", "mig")]
    if named is None:
        named = os.environ.get(VISIBLE)
    if named is None:
        return gpus
    found: list[Device] = []
    for name in named.split(","):
        device = _find(gpus, name.strip())
        if device is None:
            break
        if device not in found:
            found.append(device)
    return found


def _find(gpus: Sequence[Device], name: str) -> Device | None:
    whole = [device for device in gpus if device.parent is None]
    if name.isdigit():
        named = [device for device in whole if device.index == int(name)]
    else:
        named = [device for device in gpus if device.uuid == name]
        if name and not named:
            named = [device for device in gpus if device.uuid.startswith(name)]
    if len(named) != 1:
        return None
    slices = [device for device in gpus if device.parent == named[0].uuid]
    # Of a GPU in slices a process sees the first.
    return slices[0] if slices and named[0].partitioned else named[0]
