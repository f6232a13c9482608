"""Capabilities: which laws apply to a host, and what the law that runs needs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fal_core.hosts import Host

Law = TypeVar("Law", bound=Callable[..., None])

#: What the law that runs needs; laws run one after the other.
_needs = ""


def requires(*needs: str, at_once: int = 1) -> Callable[[Law], Law]:
    """
    Skip a law for hosts that lack a capability.

    Arguments:
        needs: Names of fields of ``Capabilities``; ``option NAME`` for an
            option that the host must act on, ``kind NAME`` for an environment,
            ``nodes COUNT`` for calls on as many nodes, ``concurrency NUMBER`` for as many
            calls at once.

        at_once: How many calls the law makes at once, where another need stands for them.
    """

    def mark(law: Law) -> Law:
        places = [int(need.split()[1]) for need in needs if need.startswith("concurrency ")]
        law.__dict__["requires"] = needs
        law.__dict__["at_once"] = max(at_once, *places, 1)
        return law

    return mark


def missing_capabilities(law: Callable[..., None], host: Host[..., object]) -> list[str]:
    """Return what *law* requires and *host* does not declare."""
    return [need for need in getattr(law, "requires", ()) if not _declares(host, need)]


@contextmanager
def running(law: Callable[..., None], host: Host[..., object]) -> Iterator[None]:
    """Note that *law* runs on *host*, for :func:`needs_of_the_law`."""
    global _needs
    count = getattr(law, "at_once", 1)
    calls = "one call" if count == 1 else f"{count} calls at once"
    _needs = (
        f"The law needs room for {calls}, and the host declares "
        f"concurrency={host.capabilities.concurrency}."
    )
    try:
        yield
    finally:
        _needs = ""


def needs_of_the_law() -> str:
    """Return how many calls the law that runs needs at once, as a sentence."""
    return _needs


def _declares(host: Host[..., object], need: str) -> bool:
    capabilities = host.capabilities
    what, _, name = need.partition(" ")
    if what == "option":
        return capabilities.options is None or name in capabilities.options
    if what == "kind":
        return capabilities.kinds is None or name in capabilities.kinds
    if what == "nodes":
        return capabilities.nodes >= int(name)
    if what == "concurrency":
        return capabilities.concurrency >= int(name)
    return bool(getattr(capabilities, need))
