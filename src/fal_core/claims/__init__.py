"""
Claims: devices of this machine, each given to one worker at a time, across all processes.

A claim is a lock on one file for each device, in a directory that all users of the machine
share. It is free again once the last process has ended that holds it, however that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.claims.claimed_hosts import ClaimedHost as ClaimedHost
    from fal_core.claims.claiming import Claim as Claim
    from fal_core.claims.claiming import claim_devices as claim_devices
    from fal_core.claims.failures import ClaimsUnavailable as ClaimsUnavailable
    from fal_core.claims.failures import DevicesHeld as DevicesHeld
    from fal_core.claims.inheritance import describe_claim as describe_claim
    from fal_core.claims.inheritance import inherit_claim as inherit_claim
    from fal_core.claims.missing import missing_devices as missing_devices
    from fal_core.claims.missing import why_missing as why_missing
    from fal_core.claims.places import CLAIMS_VARIABLE as CLAIMS_VARIABLE
    from fal_core.claims.places import claims_directory as claims_directory
    from fal_core.claims.visible import visible_devices as visible_devices
    from fal_core.claims.wants import Want as Want
    from fal_core.claims.wants import wants_of as wants_of
    from fal_core.claims.wishes import Wishes as Wishes
    from fal_core.claims.wishes import wanted_devices as wanted_devices
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.claims.claimed_hosts": "ClaimedHost",
            "fal_core.claims.claiming": "Claim claim_devices",
            "fal_core.claims.failures": "ClaimsUnavailable DevicesHeld",
            "fal_core.claims.inheritance": "describe_claim inherit_claim",
            "fal_core.claims.missing": "missing_devices why_missing",
            "fal_core.claims.places": "CLAIMS_VARIABLE claims_directory",
            "fal_core.claims.visible": "visible_devices",
            "fal_core.claims.wants": "Want wants_of",
            "fal_core.claims.wishes": "Wishes wanted_devices",
        },
    )
