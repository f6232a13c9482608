"""Claimed hosts: those that run calls on devices which somebody else has claimed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fal_core.calls import Call
    from fal_core.claims.claiming import Claim


class ClaimedHost(ABC):
    """
    A :class:`~fal_core.hosts.Host` that runs services on this machine, on devices which
    their launcher has claimed for them.
    """

    @abstractmethod
    def on_claim(self, claim: Claim, call: Call) -> AbstractContextManager[object]:
        """
        Return a context in which *call*, a service, is launched: by
        :meth:`Host.launch <fal_core.hosts.Host.launch>` of this host or of one around it.
        It has the devices of *claim* until it ends.

        The host owns the claim from here on, and gives it up if it is not launched.
        """
