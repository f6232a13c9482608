"""Function pools: the runners of functions that are sent with the call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import attrs

from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.payloads import Payloads
from fal_server.fleet.runners import Runner
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks

#: The id of the run for which a runner is started.
_starting: ContextVar[str] = ContextVar("starting", default="")

#: The number of pools above which those without runners are dropped.
_MOST_POOLS = 1000


class FunctionPools:
    """The pools of runners for functions, one for each function with its settings."""

    def __init__(self, launcher: RunnerLauncher, payloads: Payloads) -> None:
        self._launcher = launcher
        self._payloads = payloads
        self._pools: dict[str, RunnerPool] = {}
        self._ids: WeakKeyDictionary[RunnerPool, str] = WeakKeyDictionary()
        self._tasks = Tasks()

    @property
    def pools(self) -> Collection[RunnerPool]:
        """All pools."""
        return self._pools.values()

    def find(self, spec: RunnerSpec, scaling: Scaling) -> RunnerPool:
        """Return the pool for a function. Calls that differ only in their arguments share one."""
        setup = hashlib.sha256(spec.setup_definition).hexdigest()
        machine = (spec.machine_types, spec.num_gpus)
        function = (spec.name, spec.environment, spec.asked, machine, setup)
        # A runner gets its secrets and files once, and keeps them.
        resources = (spec.stage, spec.secrets, spec.files, spec.mounts)
        identity = (spec.owner, *function, *resources, scaling)
        key = hashlib.sha256(repr(identity).encode()).hexdigest()
        pool = self._pools.get(key)
        if pool is None or pool.closed:
            for other_key, other in (
                list(self._pools.items()) if len(self._pools) > _MOST_POOLS else ()
            ):
                if not other.runners:
                    del self._pools[other_key]
            pool = self._pools[key] = self._make_pool(spec, scaling)
        return pool

    async def environment_id(self, pool: RunnerPool, spec: RunnerSpec) -> str:
        """
        Return the id of the environment of the runners in *pool*.

        It is cached as long as the pool has runners, because computing it takes as long as
        everything else that the server does for a call, and longer for an image.
        """
        found = self._ids.get(pool) if pool.live else None
        if found is None:
            found = self._ids[pool] = await self._launcher.builds.key_of(spec.environment)
        return found

    async def acquire(self, pool: RunnerPool, run_id: str) -> Runner:
        """
        Wait for a free runner in *pool*, and take it for a run.

        Raises:
            NoRunner: No runner could be started, or the pool is closed.
        """
        _starting.set(run_id)
        return await pool.acquire()

    def close(self) -> None:
        """End all runners of functions at once."""
        for pool in self._pools.values():
            pool.kill()

    def _make_pool(self, spec: RunnerSpec, scaling: Scaling) -> RunnerPool:
        bare = spec.bare()

        def launch(changed: Callable[[Runner], None]) -> Runner:
            runner = self._launcher.launch(
                bare,
                self._payloads.tidying(changed),
                starting_request=_starting.get(),
                must_fit=True,
            )
            self._tasks.spawn(_mark_ready_once_listening(runner))
            return runner

        # One call at a time, since a call is cancelled by ending its runner.
        one_call = attrs.evolve(scaling, max_multiplexing=1, startup_timeout=None)
        return RunnerPool(one_call, launch, patient=False)


async def _mark_ready_once_listening(runner: Runner) -> None:
    """Let a runner take calls once its agent listens."""
    try:
        await runner.wait_for_control()
    except RunnerLost:
        return
    runner.become_ready()
