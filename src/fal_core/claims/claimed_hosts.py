"""Claimed hosts: those that run calls on devices which somebody else has claimed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fal_core.calls import Call
    from fal_core.claims.claiming import Claim
    from fal_core.events import Sink
    from fal_core.hosts import Execution


class ClaimedHost(ABC):
    """
    A :class:`~fal_core.hosts.Host` that runs services on this machine, on devices which
    their launcher has claimed for them.
    """

    @abstractmethod
    def launch_on(self, claim: Claim, call: Call, sink: Sink) -> Execution:
        """
        Launch a service as :meth:`Host.launch <fal_core.hosts.Host.launch>` does, which
        has the devices of *claim* until it ends.

        The host owns the claim from here on, and gives it up also where it raises.
        """
