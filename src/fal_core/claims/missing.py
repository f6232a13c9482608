"""Missing devices: options that ask for what this machine does not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fal_core.claims.visible import VISIBLE, visible_devices
from fal_core.claims.wants import Want, wants_of
from fal_core.machines import Device, can_discover_devices, discover_devices
from fal_core.options import HostOptions


def missing_devices(
    options: HostOptions, found: Sequence[Device] | None = None
) -> Mapping[str, str]:
    """
    Return those of *options* that ask for devices which are not on this machine, or not
    visible to this process, or that nobody can claim, each with the reason as a sentence.

    Arguments:
        found: The devices of this machine. None to ask the plugins for them.
    """
    wants = wants_of(options)
    if not any(want.count for want in wants):
        return {}
    if can_discover_devices():
        reason = why_missing(wants, discover_devices() if found is None else found)
        if not reason:
            return {}
        reason = f"{reason} The calls run without a GPU."
    else:
        reason = (
            f"It asks for {_asked(wants)}, and no installed plugin finds GPUs, as fal-machines "
            "finds those of NVIDIA. The calls see what their caller does, as others may."
        )
    names = [name for name in ("machine_type", "machine_types") if getattr(options, name)]
    if options.num_gpus:
        names.append("num_gpus")
    return dict.fromkeys(names, reason)


def why_missing(wants: Sequence[Want], found: Sequence[Device]) -> str:
    """
    Return why none of *wants* can ever be had, of the devices *found* on this machine, as a
    sentence. Empty where one can, once nobody else holds its devices.
    """
    devices = visible_devices(found)
    if any(want.is_possible(devices) for want in wants):
        return ""
    return f"It asks for {_asked(wants)}, and {_said(found, devices)}."


def _asked(wants: Sequence[Want]) -> str:
    return " or ".join(map(str, wants))


def _said(found: Sequence[Device], visible: Sequence[Device]) -> str:
    gpus = visible_devices(found, ",".join(device.uuid for device in found))
    if len(visible) < len(gpus):
        return f"{VISIBLE} lets this process use {_counted(visible)}"
    return f"this machine has {_counted(visible)}"


def _counted(devices: Sequence[Device]) -> str:
    counts = Counter(device.name for device in devices if not device.partitioned)
    if not counts:
        return "none"
    return " and ".join(f"{count} of the model {name!r}" for name, count in counts.items())
