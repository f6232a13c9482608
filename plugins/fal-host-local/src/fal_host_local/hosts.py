"""The host ``local``: warm workers on this machine."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from fal_core.abilities import (
    ConditionalHost,
    DetachingHost,
    EnforcingHost,
    ExecutionStatus,
    IsolatingHost,
    MeasuringHost,
)
from fal_core.claims import ClaimedHost
from fal_core.errors import HostClosed, HostError, UnsupportedError
from fal_core.hosts import Capabilities, Execution
from fal_core.machines import count_cpus
from fal_core.options import HostOptions
from fal_core.pools import POOL_OPTIONS, WorkerHost
from fal_core.validators import at_least, seconds
from fal_host_local.options import LocalOptions, Terms, asks_for_devices
from fal_host_local.workers.keepers import Keeper

# Everything else is imported while the keeper starts, which takes about as long.
if TYPE_CHECKING:
    from fal_core.abilities import Usage
    from fal_core.calls import Call
    from fal_core.claims import Claim
    from fal_core.environments import Environment
    from fal_core.events import Sink
    from fal_core.options import Gateway
    from fal_core.pools import Shared, Start, WorkerPools
    from fal_core.workers import Worker
    from fal_host_local.limits.meters import Meter

_hosts: weakref.WeakSet[LocalHost] = weakref.WeakSet()


@attrs.define(eq=False, slots=False)
class LocalHost(
    WorkerHost[..., Any],
    ClaimedHost,
    ConditionalHost,
    DetachingHost,
    EnforcingHost,
    IsolatingHost,
    MeasuringHost,
):
    """
    Runs functions in warm workers on this machine.

    Each combination of environment and options has workers of its own, which are kept
    until they have been idle for ``keep_alive`` seconds. They end with this process.

    Attributes:
        wait: How many seconds calls wait for GPUs that others hold, where their options do
            not say. For as long as it takes by default.

        enforce: Whether calls keep to the limits of the machine type that they declare: its
            memory, processors and processes.

        network: Whether functions have a network; without one they reach nothing, and
            serve nothing.

        measure: Whether :meth:`read_usage` tells what calls have used.
    """

    name: ClassVar[str] = "local"
    options: ClassVar[type[HostOptions]] = LocalOptions
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        same_python=True,
        concurrency=count_cpus(),
        keep_alive=True,
        multiplex=True,
        serve=True,
        secrets=True,
        detach=True,
        inherits=True,
        options=POOL_OPTIONS | {"machine_type", "machine_types", "num_gpus", "secrets"},
    )

    wait: float | None = attrs.field(default=None, kw_only=True, validator=seconds(at_least(0)))
    enforce: bool = attrs.field(default=False, kw_only=True)
    network: bool = attrs.field(default=True, kw_only=True)
    measure: bool = attrs.field(default=False, kw_only=True)

    _keeping: Any = attrs.field(init=False, factory=threading.Lock, repr=False)
    _keeper: Keeper | None = attrs.field(init=False, default=None, repr=False)
    _meter: Meter | None = attrs.field(init=False, default=None, repr=False)
    _closed: bool = attrs.field(init=False, default=False, repr=False)
    _claims: dict[str, Claim] = attrs.field(init=False, factory=dict, repr=False)
    _AGENT_ENVIRONMENT: Any = attrs.field(default=None, alias="_AGENT_ENVIRONMENT", repr=False)

    def __attrs_post_init__(self) -> None:
        _hosts.add(self)
        if self.measure:
            from fal_host_local.limits.meters import Meter

            self._meter = Meter()

    @property
    def terms(self) -> Terms:
        """How this host treats its workers."""
        return Terms(
            wait=self.wait, enforce=self.enforce, network=self.network, measure=self.measure
        )

    def enforcing(self) -> LocalHost:
        return attrs.evolve(self, enforce=True)

    def measuring(self) -> LocalHost:
        return attrs.evolve(self, measure=True)

    def read_usage(self) -> Usage:
        from fal_core.abilities import Usage

        return Usage() if self._meter is None else self._meter.read()

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        claim = self._claims.pop(call.id, None)
        if call.lifetime == "detached":
            from fal_host_local.detached.executions import launch_detached

            try:
                return launch_detached(call, sink, self.terms, claim)
            finally:
                if claim is not None:
                    # Its supervisor has it from now on.
                    claim.release()
        from fal_host_local.services.executions import launch_service

        pools, find_keeper = self._find_pools(), self._find_keeper
        return launch_service(call, sink, pools, find_keeper, self.terms, claim)

    def on_claim(self, claim: Claim, call: Call) -> ExitStack:
        self._claims[call.id] = claim
        context = ExitStack()
        context.callback(self._give_up_claim, call.id)
        return context

    def _give_up_claim(self, call_id: str) -> None:
        claim = self._claims.pop(call_id, None)
        if claim is not None:
            claim.release()

    def begin(self, start: Start) -> Worker:
        from fal_host_local.workers.devices import start_on_terms
        from fal_host_local.workers.places import Placement

        place = Placement(shares_memory=not start.serves, meter=self._meter)
        return start_on_terms(self._find_keeper, start, place, self.terms)

    def expect(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        try:
            # It starts while everything else is imported.
            self._find_keeper()
        except (OSError, HostError):
            return
        if gateway.serve and environment.isolates_network:
            # No port leads to a worker that was started before they are known.
            return
        super().expect(environment, options, gateway, origin)

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        if options.secrets:
            from fal_host_local.variables import resolve_secrets

            resolve_secrets(options.secrets, origin)
        if environment.isolates_files and (self.measure or not self.network):
            from fal_host_local.limits.meters import refuse_measuring
            from fal_host_local.workers.places import refuse_network

            refuse = refuse_measuring if self.measure else refuse_network
            raise refuse(environment.kind)
        is_service = gateway.serve or gateway.exposed_port is not None
        if is_service and not self.network:
            raise UnsupportedError(self.name, "serve a function without a network")
        if is_service and options.health_check_config is not None:
            from fal_core.declaring import HealthCheckConfig

            HealthCheckConfig.read(options.health_check_config)

    def unmet(self, options: HostOptions, environment: Environment) -> Mapping[str, str]:
        if not asks_for_devices(options):
            return {}
        from fal_host_local.limits.unmet import find_unmet

        return find_unmet(options, environment, enforces=self.enforce)

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        from fal_host_local.detached.executions import attach

        return attach(reference, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        from fal_host_local.detached.records import list_executions

        return list_executions()

    def network_problem(self) -> str:
        from fal_core_worker.serving.networks import missing

        return missing()

    def close(self) -> None:
        super().close()
        with self._keeping:
            self._closed = True
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def _make_pools(self) -> WorkerPools:
        from fal_core.pools import WorkerPools

        count = self.capabilities.concurrency
        return WorkerPools(
            self.name,
            self.begin,
            count=count,
            shared_by=self._shared_by_place,
            # Devices may be waited for.
            quick=lambda options: not asks_for_devices(options),
        )

    def _shared_by_place(self, call: Shared) -> Hashable:
        """
        Return what calls must have in common to share workers. A worker with a file system of
        its own sees no more folders than it was started with.
        """
        shared = self.shared_by(call)
        if not call.environment.isolates_files:
            return shared
        from fal_core.calls import Call
        from fal_host_local.workers.surroundings import find_folders

        known = call if isinstance(call, Call) else None
        folders = find_folders(os.getcwd(), known, origin=call.origin)
        return (shared, frozenset(folders.items()))

    def _find_keeper(self) -> Keeper:
        with self._keeping:
            if self._closed:
                raise HostClosed(self.name)
            if self._keeper is None or self._keeper.end():
                self._keeper = Keeper()
            return self._keeper


def _forget_keepers() -> None:
    """Begin without a keeper in a forked child: it belongs to the parent process."""
    for host in list(_hosts):
        host._keeping = threading.Lock()
        host._closed = False
        if host._keeper is not None:
            host._keeper.abandon()
            host._keeper = None


os.register_at_fork(after_in_child=_forget_keepers)
