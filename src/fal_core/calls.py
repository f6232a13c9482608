"""A call as it travels: an envelope that hosts move and do not open."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from fal_core.environments import Environment
from fal_core.events import Sealed
from fal_core.options import Gateway, HostOptions, Lifetime
from fal_core.reprs import show_fields
from fal_core_worker.nodes import Node

__all__ = [
    "ENVELOPE_VERSION",
    "AuthMode",
    "Call",
    "Node",
    "SealedFunction",
    "SourceArchive",
]

ENVELOPE_VERSION = 1

AuthMode = Literal["public", "private", "shared"]


@attrs.frozen(kw_only=True, eq=False, slots=False)
class SealedFunction:
    """
    A function, sealed once for many calls.

    Attributes:
        digest: Digest of the sealed bytes; equal digests are the same function.

        native: For a worker of the Python minor that sealed it.

        portable: For any other minor: the function as source. None if it was not
            asked for, or if compiling the source again might give other code.

        refusal: Why the function has no portable form, as a sentence; empty otherwise.
    """

    __repr__ = show_fields

    digest: str
    native: Sealed
    portable: Sealed | None = None
    refusal: str = ""


@attrs.frozen
class SourceArchive:
    """
    Python source that is put on ``sys.path`` behind the environment's own.

    Attributes:
        digest: Digest of *data*; names the directory it is unpacked to.

        data: A zip file.
    """

    __repr__ = show_fields

    digest: str
    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")


def _to_tuple(ports: Iterable[int] | None) -> tuple[int, ...] | None:
    # An envelope has a list.
    return None if ports is None else tuple(ports)


def _to_node(node: Iterable[Any] | None) -> Node | None:
    # An envelope has a list of a number and a list.
    if node is None:
        return None
    rank, addresses = node
    return Node(rank, tuple(addresses))


@attrs.frozen(kw_only=True, eq=False, slots=False)
class Call:
    """
    One call of a function, or one batch of calls.

    Attributes:
        id: Unique; logs carry it. The items of a batch log as ``id/index``.

        name: Name of the function, for people.

        setup: The ``setup_function``: run once in a worker, its result is the
            first argument of each call.

        arguments: A pair ``(args, kwargs)``; for a batch a list of them.

        batch: How many items, 0 for a single call.

        stream: Whether the function yields items that are wanted one by one.

        lifetime: ``attached`` work ends with the process that launched it.

        timeout: Seconds that detached work may take, enforced by the process that
            supervises it. None for no limit, and where the core enforces it.

        retries: How often detached work is begun again after its host has failed.

        traceparent: W3C trace context of the caller.

        owner: The program that detached work belongs to, for people; empty where it is the
            user's own.

        application: Whether a class is served, not a function.

        origin: The file of the caller's machine that the function was written in.

        takes_socket: Whether it is served by a server that can listen on Unix sockets in
            place of ports.

        own_network: Not None to run it in a network of its own, on a host that is an
            :class:`~fal_core.abilities.IsolatingHost`: nobody else reaches its ports
            there. Its loopback address leads to that of the machine, except for these
            ports, which are its own. No port of the machine leads there, also where the
            environment has a network of its own in any case.

        reached_ports: The ports of the loopback address of the machine that the one of
            *own_network* leads to, where its environment has a file system of its own. None
            for all that something listens on.

        folders: Directories of the machine of the host, each with where the function is to
            see it if its environment has a file system of its own. None for the working
            directory and the project of the function.

        node: The node that it is for, of a call that runs on several; see :meth:`at_node`.
    """

    __repr__ = show_fields

    id: str
    name: str
    function: SealedFunction
    arguments: Sealed
    environment: Environment
    host_options: HostOptions
    gateway: Gateway
    setup: SealedFunction | None = None
    batch: int = 0
    stream: bool = False
    sources: tuple[SourceArchive, ...] = ()
    application_name: str | None = None
    application_auth_mode: AuthMode | None = None
    lifetime: Lifetime = "attached"
    timeout: float | None = None
    retries: int = 0
    traceparent: str | None = None
    owner: str = ""
    application: bool = False
    origin: str | None = None
    takes_socket: bool = False
    own_network: tuple[int, ...] | None = attrs.field(default=None, converter=_to_tuple)
    reached_ports: tuple[int, ...] | None = attrs.field(default=None, converter=_to_tuple)
    folders: Mapping[str, str] | None = None
    node: Node | None = attrs.field(default=None, converter=_to_node)
    version: int = ENVELOPE_VERSION

    def again(self, identity: str, arguments: Sealed) -> Call:
        """
        Return this call under another id, with other arguments, at a fraction of the cost
        of ``attrs.evolve``: every call is made so.
        """
        values = self.__dict__.copy()
        values["id"], values["arguments"] = identity, arguments
        other = object.__new__(Call)
        object.__setattr__(other, "__dict__", values)
        return other

    @property
    def nodes(self) -> int:
        """On how many nodes it runs."""
        return self.host_options.nodes or 1

    def at_node(self, node: Node) -> Call:
        """Return this call for *node*, one of those that it runs on."""
        return attrs.evolve(self, node=node)

    def at_ports(self, exposed_port: int, exposed_metrics_port: int) -> Call:
        """
        Return this call of a server with the ports to listen on; 0 chooses a free one.

        A port that the function declares takes precedence over the host's.
        """
        import pickle

        ports = {
            "exposed_port": self.gateway.exposed_port or exposed_port,
            "exposed_metrics_port": self.host_options.metrics_port or exposed_metrics_port,
        }
        # The plain prefix of version 1; the contract imports nothing of the worker that seals.
        plain = bytes((1, 0, *sys.version_info[:2])) + pickle.dumps(((), ports), 5)
        return self.again(self.id, Sealed(plain))
