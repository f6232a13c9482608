"""Unmet options: machine types whose sizes or devices calls do not get here."""

from __future__ import annotations

from collections.abc import Mapping

from fal_core.claims import missing_devices, visible_devices, wants_of
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
    if not wants:
        return {}
    # A driver may take long to answer.
    found = discover_devices() if any(want.count for want in wants) else []
    if missing := missing_devices(options, found):
        return missing
    names = [name for name in ("machine_type", "machine_types") if getattr(options, name)]
    machines = [want.machine for want in wants if want.machine is not None]
    held = environment.held_limits()
    if held is not None:
        problems = dict.fromkeys(filter(None, map(held.problem, machines)))
        return dict.fromkeys(names, " ".join(problems)) if problems else {}
    devices = visible_devices(found)
    takes_devices = any(want.count and want.is_possible(devices) for want in wants)
    if enforces or takes_devices:
        return {}
    sentence = (
        "Its limits hold with LocalHost(enforce=True), by 'fal-core run --enforce', and in "
        "containers."
    )
    return dict.fromkeys(names, sentence)
