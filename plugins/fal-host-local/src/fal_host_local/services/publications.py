"""
Publications: the ports of this machine that lead to a service in a network of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from fal_core.calls import Call
from fal_core.workers import Worker
from fal_core_worker.serving.ports import free_port
from fal_host_local.services.ports import ServicePort, claim_if_free, claim_loopback_port

_LOOPBACK = "127.0.0.1"

#: What a service listens on in a network of its own, for requests and for metrics.
_REQUESTS, _METRICS = 8080, 9090


@attrs.frozen
class Publication:
    """
    The ports of a service in a network of its own.

    Attributes:
        inner: Those that it listens on, for requests and for metrics.

        ports: Ports of this machine, each with the one that it leads to.

        claimed: The port of this machine that the service wants. None if it wants none.
    """

    inner: tuple[int, int]
    ports: Mapping[int, int]
    claimed: ServicePort | None = None

    @classmethod
    def of(cls, call: Call) -> Publication:
        """
        Return ports of this machine for the service that *call* runs: those that it wants, or
        free ones. A function that brings its own server gets a free one where its own is taken.

        Raises:
            PortTaken: Another service or process has the port that a served function wants.
        """
        wanted, metrics = call.gateway.exposed_port, call.host_options.metrics_port
        inner = (wanted or _REQUESTS, metrics or _METRICS)
        claim = claim_loopback_port if call.gateway.serve else claim_if_free
        claimed = claim(wanted, call.name, call.id) if wanted else None
        ports = {free_port() if claimed is None else claimed.port: inner[0]}
        if call.gateway.serve and inner[1] != inner[0]:
            ports[metrics or free_port()] = inner[1]
        return cls(inner, ports, claimed)

    def release(self) -> None:
        """
        Give up the claim to the port that the service wanted.
        """
        if self.claimed is not None:
            self.claimed.release()

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        """
        Return *urls*, as the service sees them, as they are reached from this machine.
        """
        outer = {inner: port for port, inner in self.ports.items()}
        return {name: _at(url, outer) for name, url in urls.items()}


def _at(url: str, outer: Mapping[int, int]) -> str:
    parts = urlsplit(url)
    port = outer.get(parts.port or 0)
    return url if port is None else parts._replace(netloc=f"{_LOOPBACK}:{port}").geturl()
