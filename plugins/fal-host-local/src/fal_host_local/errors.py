"""The errors of the local host, in the tree of ``fal_core.errors``."""

from __future__ import annotations

from fal_core.errors import HostError
from fal_core.facts import facts


@facts
class PortTaken(HostError):
    """
    A service wants a port that somebody else has.

    Attributes:
        holder: Who has it, in words.

        remedy: What else can be done than to wait for it, as a sentence.
    """

    port: int
    holder: str = "another process"
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" {self.remedy}" if self.remedy else ""
        return (
            f"Port {self.port} is taken by {self.holder}. "
            f"End that first, or declare another exposed_port.{remedy}"
        )
