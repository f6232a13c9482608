"""
Unmet options: machine types whose sizes or devices calls do not get here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fal_core.claims import Want, missing_devices, visible_devices, wants_of
from fal_core.environments import Environment
from fal_core.machines import discover_devices
from fal_core.options import HostOptions


def find_unmet(
    options: HostOptions, environment: Environment, *, enforces: bool
) -> Mapping[str, str]:
    """
    Return those of *options* that have no effect on calls in *environment*, each with the
    reason as a sentence.

    Arguments:
        enforces: Whether the host holds calls to the limits of their machine type.
    """
    wants = wants_of(options)
    missing = missing_devices(options)
    if missing or not wants:
        return missing
    names = [name for name in ("machine_type", "machine_types") if getattr(options, name)]
    machines = [want.machine for want in wants if want.machine is not None]
    held = environment.held_limits()
    if held is not None:
        problems = dict.fromkeys(filter(None, map(held.problem, machines)))
        return dict.fromkeys(names, " ".join(problems)) if problems else {}
    if enforces or _takes_devices(wants):
        return {}
    sentence = (
        "Its limits hold with LocalHost(enforce=True), by 'fal-core run --enforce', and in "
        "containers."
    )
    return dict.fromkeys(names, sentence)


def _takes_devices(wants: Sequence[Want]) -> bool:
    """
    Tell whether this machine has the devices that one of *wants* asks for.
    """
    if not any(want.count for want in wants):
        return False
    devices = visible_devices(discover_devices())
    return any(want.count and want.is_possible(devices) for want in wants)
