"""Failures of claims."""

from __future__ import annotations

from fal_core.errors import HostError
from fal_core.facts import facts


@facts
class DevicesHeld(HostError):
    """
    Others hold the devices that a call asks for, and it has waited for as long as it may.

    Attributes:
        wanted: What it asks for, as in ``2 GPUs of machine type 'GPU-H100'``.

        holders: Who holds what, a sentence for each device.

        seconds: For how long it has waited.
    """

    wanted: str
    holders: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        waited = f"within {self.seconds:g} s" if self.seconds else "at once"
        held = " ".join(self.holders)
        return (
            f"{self.wanted} could not be had {waited}. {held} "
            "End what holds it, or give the call more time with wait=."
        )


@facts
class ClaimsUnavailable(HostError):
    """
    Devices cannot be claimed, as the directory of claims cannot be used.

    Attributes:
        path: The directory, or a file in it.

        problem: What is wrong with it, without a full stop.

        variable: The environment variable that names another directory.
    """

    path: str
    problem: str
    variable: str

    def __str__(self) -> str:
        return (
            f"Devices cannot be claimed: {self.path} {self.problem}. Mend it, or name a "
            f"directory that all users of this machine share in {self.variable}."
        )
