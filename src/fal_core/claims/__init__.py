"""
Claims: devices of this machine, each given to one worker at a time, whoever starts it.

A claim is a lock on one file for each device, in a directory that all users of the machine
share. It is free again once the last process has ended that holds it, however that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.claims.claimed_hosts import ClaimedHost
    from fal_core.claims.claiming import Claim, claim_devices
    from fal_core.claims.failures import ClaimsUnavailable, DevicesHeld
    from fal_core.claims.inheritance import describe_claim, inherit_claim
    from fal_core.claims.missing import missing_devices, why_missing
    from fal_core.claims.places import CLAIMS_VARIABLE, claims_directory
    from fal_core.claims.visible import visible_devices
    from fal_core.claims.wants import Want, wants_of
    from fal_core.claims.wishes import Wishes, wanted_devices

__all__ = [
    "CLAIMS_VARIABLE",
    "Claim",
    "ClaimedHost",
    "ClaimsUnavailable",
    "DevicesHeld",
    "Want",
    "Wishes",
    "claim_devices",
    "claims_directory",
    "describe_claim",
    "inherit_claim",
    "missing_devices",
    "visible_devices",
    "wanted_devices",
    "wants_of",
    "why_missing",
]

_exports = lazily(
    __name__,
    {
        "CLAIMS_VARIABLE": "fal_core.claims.places",
        "Claim": "fal_core.claims.claiming",
        "ClaimedHost": "fal_core.claims.claimed_hosts",
        "ClaimsUnavailable": "fal_core.claims.failures",
        "DevicesHeld": "fal_core.claims.failures",
        "Want": "fal_core.claims.wants",
        "Wishes": "fal_core.claims.wishes",
        "claim_devices": "fal_core.claims.claiming",
        "claims_directory": "fal_core.claims.places",
        "describe_claim": "fal_core.claims.inheritance",
        "inherit_claim": "fal_core.claims.inheritance",
        "missing_devices": "fal_core.claims.missing",
        "visible_devices": "fal_core.claims.visible",
        "wanted_devices": "fal_core.claims.wishes",
        "wants_of": "fal_core.claims.wants",
        "why_missing": "fal_core.claims.missing",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
