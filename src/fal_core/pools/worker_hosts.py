"""Hosts that run calls in workers: their authors write how one is started."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.abilities import AnticipatingHost
from fal_core.errors import FalCoreError, HostError, PluginError, UnsupportedError
from fal_core.hosts import ArgsT, Execution, Host, ReturnT

# A first call starts a worker while the rest of this package is imported.
if TYPE_CHECKING:
    from fal_core.calls import Call
    from fal_core.environments import Environment
    from fal_core.events import Sink
    from fal_core.options import Gateway, HostOptions
    from fal_core.pools.starts import Start
    from fal_core.pools.worker_pools import Shared, WorkerPools
    from fal_core.workers import Worker

#: The documented options that a :class:`WorkerHost` acts on by itself, if its workers are kept
#: and it serves.
POOL_OPTIONS = frozenset(
    (
        "health_check_config",
        "keep_alive",
        "logging",
        "max_concurrency",
        "max_multiplexing",
        "metrics_port",
        "min_concurrency",
        "request_timeout",
        "scaling_delay",
        "setup_function",
        "startup_timeout",
        "termination_grace_period_seconds",
    )
)

# Held while a host takes the pools that it has made.
_making = threading.Lock()


@attrs.define(eq=False, slots=False)
class WorkerHost(Host[ArgsT, ReturnT], AnticipatingHost):
    """
    A host that runs calls in workers. A subclass names itself and writes :meth:`begin`.

    Everything else follows from its capabilities. With ``keep_alive`` a worker takes one
    call after another, as the options of the calls say; without it, it ends after its first.
    As many run at once as ``concurrency`` says, and further calls wait. With ``serve`` a
    service has a worker of its own.
    """

    _pools: WorkerPools | None = attrs.field(init=False, default=None, repr=False)

    @abstractmethod
    def begin(self, start: Start) -> Worker:
        """
        Start a worker, and return it at once or once its process runs.

        It is called on a thread of its own, many at a time, and may take long: a call that
        waits can be cancelled meanwhile, which sets ``start.cancelled``. What it raises
        ends the calls that wait for the worker. They get that error, if it is a
        :class:`~fal_core.errors.HostError`, and one that names it otherwise.

        Arguments:
            start: What it is started for. :meth:`Start.build <fal_core.pools.Start.build>`
                builds the environment of the calls.
        """

    def shared_by(self, call: Shared) -> Hashable:
        """
        Return what calls must have in common to share workers; equal values share.

        A host whose workers depend on more than :func:`fal_core.pools.shared_by` tells adds
        it.
        """
        from fal_core.pools.worker_pools import shared_by

        return shared_by(call)

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        """
        Return where a service is reached from here.

        A host of another machine opens a tunnel or puts a name in. It is called on a thread
        of its own.

        Arguments:
            urls: The URLs as *worker* sees them, on its loopback address.
        """
        return urls

    def make_room(self) -> bool:
        """
        Stop a worker of this host that is idle, and return whether there was one.

        :meth:`begin` calls it now and then while it waits for what idle workers may have,
        such as a place in a cluster.
        """
        return self._pools is not None and self._pools.give_way()

    def launch(self, call: Call, sink: Sink) -> Execution:
        gateway = call.gateway
        if gateway.serve or gateway.exposed_port is not None or call.lifetime == "detached":
            self._check_nodes(call)
            try:
                return self.launch_apart(call, sink)
            except FalCoreError:
                raise
            except Exception as error:
                raise self._failure("launch_apart", error) from error
        pools = self._pools or self._find_pools()
        # Most functions have been called before.
        recent = pools.recent.get((id(call.environment), id(call.host_options)))
        if recent is not None and (not recent.refers or recent.is_current()):
            return recent.pool.launch(call, sink)
        self._check_nodes(call)
        return pools.launch(call, sink)

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        """
        Launch a call that has a worker of its own: a service, or detached work.

        A host that detaches work overrides it.

        Raises:
            UnsupportedError: It is a service in a network of its own, and nothing here leads
                there.
        """
        if call.environment.isolates_network:
            raise UnsupportedError(
                self.name,
                f"serve a function in an environment of kind {call.environment.kind!r}, which "
                "has a network of its own",
                "Declare one in the network of its machine, or use a host that leads ports "
                "there, such as 'local'.",
            )
        is_elsewhere = type(self).reach is not WorkerHost.reach
        reach = self.reach if is_elsewhere else None
        return self._find_pools().launch_service(call, sink, reach)

    def _failure(self, method: str, error: Exception) -> HostError:
        from fal_core.sinks.breaches import failure_of

        return failure_of(self.name, method, error)

    def _shared_by(self, call: Shared) -> Hashable:
        """Return what :meth:`shared_by` does; what it raises names the host."""
        try:
            shared = self.shared_by(call)
            hash(shared)
        except FalCoreError:
            raise
        except Exception as error:
            raise self._failure("shared_by", error) from error
        return shared

    def _check_nodes(self, call: Call) -> None:
        """Refuse to run a call over several nodes in one worker: its result would be wrong."""
        if call.nodes > 1 and call.node is None:
            raise PluginError(
                self.name,
                f"It claims {self.capabilities.nodes} nodes, and would run a call over "
                f"{call.nodes} in one worker. Its launch() has to return "
                "launch_group(call, sink, prepare) for such a call; see fal_core.groups.",
                "Host",
            )

    def expect(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        if options.setup_function is not None or options.secrets:
            # Both decide which workers are used: the setup function is not known until
            # it is sealed, and the secrets may be in a file beside the function.
            return
        if type(self).shared_by is not WorkerHost.shared_by:
            # It may tell calls apart by more than is known by now.
            return
        if (options.nodes or 1) > 1:
            # Each node has a worker of its own, which the host starts in its own way.
            return
        if gateway.exposed_port is None or gateway.serve:
            try:
                self._find_pools().expect(
                    environment, options, serve=gateway.serve, origin=origin
                )
            except (OSError, FalCoreError):
                # The call fails in the same way, and reports it.
                pass

    def close(self) -> None:
        self._find_pools().close()

    @property
    def worker_count(self) -> int:
        """The current number of workers."""
        return 0 if self._pools is None else self._pools.worker_count

    def _find_pools(self) -> WorkerPools:
        if self._pools is None:
            # Two threads may make some; those that are not used hold nothing.
            made = self._make_pools()
            with _making:
                self._pools = self._pools or made
        return self._pools

    def _make_pools(self) -> WorkerPools:
        from fal_core.pools.worker_pools import WorkerPools

        capabilities = self.capabilities
        return WorkerPools(
            self.name,
            self.begin,
            count=capabilities.concurrency,
            shared_by=self._shared_by,
            once=not capabilities.keep_alive,
        )

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process has workers of its own.
        fields = attrs.fields(type(self))
        return {each.name: getattr(self, each.name) for each in fields if each.init}

    def __setstate__(self, state: dict[str, Any]) -> None:
        aliases = {each.name: each.alias for each in attrs.fields(type(self))}
        self.__init__(**{aliases[name]: value for name, value in state.items()})  # type: ignore[misc]  # its own fields


def _renew_lock() -> None:
    """Have no host wait in a forked child for a thread of its parent process."""
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
