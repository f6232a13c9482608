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
    """

    inner: tuple[int, int]
    ports: Mapping[int, int]

    @classmethod
    def of(cls, call: Call) -> Publication:
        """
        Return free ports of this machine for the service that *call* runs.
        """
        requests = call.gateway.exposed_port or _REQUESTS
        metrics = call.host_options.metrics_port or _METRICS
        wanted = dict.fromkeys((requests, metrics) if call.gateway.serve else (requests,))
        return cls((requests, metrics), {free_port(): port for port in wanted})

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
