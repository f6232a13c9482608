"""Holders: who has the devices that a call waits for, in words."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

from fal_core.claims.places import lock_file, name_of, read_holder, release
from fal_core.claims.wants import Want
from fal_core.machines import Device
from fal_core.reprs import show_size


def this_process() -> str:
    """Return what others are told of this process while it holds a device."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.geteuid())
    return json.dumps({"process": os.getpid(), "user": user, "since": time.time()})


def holders_of(
    directory: int, wants: Sequence[Want], devices: Sequence[Device]
) -> tuple[str, ...]:
    """Return a sentence for each device that would do for *wants* and that others hold."""
    fitting = {device.uuid: device for want in wants for device in want.fitting(devices)}
    held = ((device, _holder(directory, device)) for device in fitting.values())
    return tuple(f"{named(device)} is held by {who}." for device, who in held if who)


def use_of(device: Device) -> str:
    """Return a sentence about who uses *device* without a claim."""
    who = ", ".join(map(str, device.processes[:5]))
    plural = "es" if len(device.processes) > 1 else ""
    by = f" by process{plural} {who}" if who else ""
    sentence = f"{named(device)} is used{by} without a claim"
    if device.used is None:
        return f"{sentence}."
    free = show_size(max(0, device.memory - device.used))
    return f"{sentence}: {free} of its {show_size(device.memory)} are free."


def named(device: Device) -> str:
    """Return how *device* is named to people."""
    return f"{device.name} ({device.uuid})"


def _holder(directory: int, device: Device) -> str:
    """Return who holds *device*, as its file says. Empty if nobody does."""
    if _is_free(directory, device.uuid, shared=False):
        if device.parent is None or _is_free(directory, device.parent, shared=True):
            return ""
        return _written(directory, device.parent)
    if _is_free(directory, device.uuid, shared=True):
        return "a process that has a slice of it"
    return _written(directory, device.uuid)


def _is_free(directory: int, uuid: str, *, shared: bool) -> bool:
    lock = lock_file(directory, name_of(uuid), shared=shared)
    if lock is not None:
        release(lock)
    return lock is not None


def _written(directory: int, uuid: str) -> str:
    """
    Return what the file of a device says. Its holder may not have been able to write it, and
    others may write what they like.
    """
    try:
        facts = json.loads(read_holder(directory, name_of(uuid)))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["since"]))
        user = str(facts["user"])[:40]
        return f"process {int(facts['process'])} of user {user!r} since {since}"
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return "another process"
