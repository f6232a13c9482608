"""Ports: claiming the port that a service wants, or naming who has it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs

from fal_core.caches import ForeignCache
from fal_core.environments import Command
from fal_core.errors import HostError
from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import PortHeld, claim, free_port
from fal_host_local.errors import PortTaken

_LOOPBACK = "127.0.0.1"


class ServicePort:
    """
    The port of a service that wants a certain one.

    Arguments:
        lock: The descriptor that claims the port; None where the service has a network
            of its own.

    Attributes:
        inner: The port that the service listens on.

        port: The port of this machine that leads there. It differs from *inner* where
            the service has a network of its own.
    """

    def __init__(self, inner: int, port: int, lock: int | None) -> None:
        self.inner = inner
        self.port = port
        self._lock = lock

    @property
    def has_own_network(self) -> bool:
        """Whether the service has a network of its own."""
        return self._lock is None

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"http://{_LOOPBACK}:{self.port}"

    def enter_network(self, command: Command) -> Command:
        """
        Return a command that runs *command* in a network of its own.

        The process creates the network and then executes *command*, which can reach the
        networks of this machine.
        """
        enter = networks.command(f"{self.port}:{self.inner}")
        return attrs.evolve(command, argv=(*enter, *command.argv))

    def release(self) -> None:
        """Give up the claim to the port."""
        lock, self._lock = self._lock, -1
        if lock is not None and lock >= 0:
            os.close(lock)


def seclude(command: Command, own: Iterable[int]) -> Command:
    """
    Return a command that runs *command* in a network of its own that no port leads into.

    Arguments:
        own: Ports of its loopback address that are its own. The others lead to what listens
            there on this machine.
    """
    enter = networks.command("", networks.listening_ports(*own))
    return attrs.evolve(command, argv=(*enter, *command.argv))


def claim_loopback_port(port: int, name: str, reference: str) -> ServicePort:
    """
    Claim *port* for the service *name*, which fal-core serves on the loopback address.

    Such a service could listen on any other port as well, so it never gets a network of
    its own.

    Raises:
        PortTaken: Another service or process has it.
    """
    try:
        return ServicePort(port, port, _claim(port, name, reference, address=_LOOPBACK))
    except PortHeld as held:
        remedy = "'fal-core run --port' gives it another."
        raise PortTaken(port, str(held), remedy) from None


def claim_if_free(port: int, name: str, reference: str) -> ServicePort | None:
    """
    Claim *port* of the loopback address for the service *name*; return None if another service
    or process has it.
    """
    try:
        return ServicePort(port, port, _claim(port, name, reference, address=_LOOPBACK))
    except PortHeld:
        return None


def claim_port(port: int, name: str, reference: str) -> ServicePort:
    """
    Claim *port* for the service *name*, which brings its own server.

    If the port is taken, the service gets a network of its own.

    Raises:
        PortTaken: The port is taken, and this machine has no network namespaces.
    """
    try:
        return ServicePort(port, port, _claim(port, name, reference))
    except PortHeld as held:
        reason = networks.missing()
        if reason:
            raise PortTaken(port, str(held), reason) from None
    return ServicePort(port, free_port(), None)


def _claim(port: int, name: str, reference: str, *, address: str = "") -> int:
    try:
        return claim(port, name, reference, address=address)
    except ForeignCache as error:
        raise HostError(str(error)) from None
