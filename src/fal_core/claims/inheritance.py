"""Inheritance: a claim that a process makes for another one, which it starts."""

from __future__ import annotations

import json
import os

import attrs

from fal_core.claims.claiming import Claim
from fal_core.claims.holders import this_process
from fal_core.claims.places import adopt, write_holder
from fal_core.machines import Device, Machine


def describe_claim(claim: Claim) -> str:
    """
    Return what a process that inherits the descriptors of *claim* gives to
    :func:`inherit_claim`, as text.
    """
    return json.dumps(attrs.asdict(claim))


def inherit_claim(described: str) -> Claim:
    """
    Take over a claim whose descriptors this process has inherited, under the same numbers.

    Those who wait for the devices are told of this process, whose own child processes
    inherit nothing.

    Raises:
        OSError: It has not inherited them.
    """
    told = json.loads(described)
    machine = told["machine"]
    claim = Claim(
        devices=tuple(
            Device(**{**each, "processes": tuple(each["processes"])})
            for each in told["devices"]
        ),
        machine=None if machine is None else Machine(**machine),
        descriptors=tuple(told["descriptors"]),
        is_known=told["is_known"],
    )
    for descriptor in claim.descriptors:
        os.set_inheritable(descriptor, False)
        adopt(descriptor)
        write_holder(descriptor, this_process())
    return claim
