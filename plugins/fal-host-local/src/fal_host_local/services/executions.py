"""Services on this machine, each with the port that it wants or a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from fal_core.abilities import limit_of
from fal_core.calls import Call
from fal_core.errors import HostError
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_core.pools import Pool, ServiceExecution, Start, WorkerPools
from fal_core.workers import Worker
from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import free_port, listens
from fal_host_local.options import Terms
from fal_host_local.services.ports import (
    ServicePort,
    claim_if_free,
    claim_loopback_port,
    claim_port,
    seclude,
)
from fal_host_local.workers.devices import start_on_terms
from fal_host_local.workers.keepers import Keeper
from fal_host_local.workers.places import Placement

if TYPE_CHECKING:
    from fal_core.claims import Claim


def launch_service(
    call: Call,
    sink: Sink,
    pools: WorkerPools,
    find_keeper: Callable[[], Keeper],
    terms: Terms,
    claim: Claim | None = None,
) -> Execution:
    """
    Run a service in a worker of its own, which is stopped when the service ends.

    Arguments:
        terms: How the host treats its workers.

        claim: The devices that it is to have, and that are given up here. None for those
            that its options ask for.

    Raises:
        HostClosed: The host was closed.

        PortTaken: Another service or process has the port that it wants.
    """
    place = Placement(shares_memory=False, largest=limit_of(sink), given=claim)

    def begin(start: Start) -> Worker:
        return start_on_terms(find_keeper, start, place, terms)

    try:
        execution = _make_execution(call, sink, pools, begin, place)
    except BaseException:
        place.give_up()
        raise
    execution.start()
    return execution


def _make_execution(
    call: Call,
    sink: Sink,
    pools: WorkerPools,
    begin: Callable[[Start], Worker],
    place: Placement,
) -> LocalServiceExecution:
    pool = publication = None
    if call.environment.isolates_network:
        if call.own_network is not None and not networks.missing():
            reached = call.reached_ports
            place.reached = (
                networks.listening_ports(*call.own_network) if reached is None else reached
            )
    elif call.own_network is None and place.largest is None and place.given is None:
        pool = pools.take_expected(call)
    if pool is None:
        pool = pools.make_service_pool(call, begin)

    def end() -> None:
        place.give_up()
        pools.forget_service(call)

    try:
        if call.environment.isolates_network and call.own_network is None:
            publication = Publication.of(call)
            place.ports, pool.release = publication.ports, publication.release
        execution = LocalServiceExecution(call, sink, pool, end, publication)
        pools.add_service(call, pool)
        execution.claim_port(place)
    except HostError:
        if publication is not None:
            publication.release()
        pools.forget_service(call)
        pool.close()
        raise
    return execution


class LocalServiceExecution(ServiceExecution):
    """
    A service on this machine.

    Arguments:
        publication: Its ports, if it has a network of its own in any case.
    """

    _port: ServicePort | None = None

    def __init__(
        self,
        call: Call,
        sink: Sink,
        pool: Pool,
        ended: Callable[[], object],
        publication: Publication | None,
    ) -> None:
        super().__init__(
            call, sink, pool, ended, None if publication is None else publication.reach
        )
        self._publication = publication

    def listening_ports(self) -> tuple[int, int]:
        return (0, 0) if self._publication is None else self._publication.inner

    def claim_port(self, place: Placement) -> None:
        """
        Claim the port that the function wants, if it wants a certain one, or have it run in
        a network of its own.

        Raises:
            PortTaken: Another service or process has it.
        """
        call = self.call
        if call.environment.isolates_network:
            return
        if call.own_network is not None and not networks.missing():
            place.enter_network = partial(seclude, own=call.own_network)
        wanted = call.gateway.exposed_port
        # A served application may have any port where it is given port 0.
        if wanted is None or (call.gateway.serve and not wanted):
            return
        claim = claim_loopback_port if call.gateway.serve else claim_port
        self._port = port = claim(wanted, call.name, call.id)
        self.pool.release = port.release
        if port.has_own_network:
            place.enter_network = port.enter_network

    def own_urls(self) -> Mapping[str, str]:
        return super().own_urls() if self._port is None else {"run": self._port.url}

    def is_open(self) -> bool:
        port, worker = self._port, self.pool.last_worker
        # The port of this machine is open before the service listens in its own network.
        if port is None or not port.has_own_network:
            return True
        hello = None if worker is None else worker.hello
        return hello is not None and listens(hello["pid"], port.inner)

    def release(self) -> None:
        for claimed in (self._port, self._publication):
            if claimed is not None:
                claimed.release()


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
        """Give up the claim to the port that the service wanted."""
        if self.claimed is not None:
            self.claimed.release()

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        """Return *urls*, as the service sees them, as they are reached from this machine."""
        outer = {inner: port for port, inner in self.ports.items()}
        return {name: _at(url, outer) for name, url in urls.items()}


def _at(url: str, outer: Mapping[int, int]) -> str:
    parts = urlsplit(url)
    port = outer.get(parts.port or 0)
    return url if port is None else parts._replace(netloc=f"{_LOOPBACK}:{port}").geturl()
