"""
Capabilities: which laws apply to a host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fal_core.hosts import Host

Law = TypeVar("Law", bound=Callable[..., None])


def requires(*needs: str) -> Callable[[Law], Law]:
    """
    Skip a law for hosts that lack a capability.

    Arguments:
        needs: Names of fields of ``Capabilities``; ``option NAME`` for an
            option that the host must act on, ``kind NAME`` for an environment,
            ``nodes COUNT`` for calls on as many nodes.
    """

    def mark(law: Law) -> Law:
        law.__dict__["requires"] = needs
        return law

    return mark


def missing_capabilities(law: Callable[..., None], host: Host[..., object]) -> list[str]:
    """
    Return what *law* requires and *host* does not declare.
    """
    return [need for need in getattr(law, "requires", ()) if not _declares(host, need)]


def _declares(host: Host[..., object], need: str) -> bool:
    capabilities = host.capabilities
    what, _, name = need.partition(" ")
    if what == "option":
        return capabilities.options is None or name in capabilities.options
    if what == "kind":
        return capabilities.kinds is None or name in capabilities.kinds
    if what == "nodes":
        return capabilities.nodes >= int(name)
    return bool(getattr(capabilities, need))
