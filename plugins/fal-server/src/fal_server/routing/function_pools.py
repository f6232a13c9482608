"""
The runners of functions that come with the call.
"""

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

#: The run that a runner is started for.
_starting: ContextVar[str] = ContextVar("starting", default="")

#: How many functions have a pool at most, before those without runners are dropped.
_MOST = 1000


class FunctionPools:
    """
    Has a pool of runners for each function.
    """

    def __init__(self, launcher: RunnerLauncher, payloads: Payloads) -> None:
        self._launcher = launcher
        self._payloads = payloads
        self._pools: dict[str, RunnerPool] = {}
        self._ids: WeakKeyDictionary[RunnerPool, str] = WeakKeyDictionary()
        self._tasks = Tasks()

    @property
    def pools(self) -> Collection[RunnerPool]:
        """
        The pools there are.
        """
        return self._pools.values()

    def find(self, spec: RunnerSpec, scaling: Scaling) -> RunnerPool:
        """
        Return the pool of a function: two calls share it if they differ in arguments alone.
        """
        setup = hashlib.sha256(spec.setup_definition).hexdigest()
        # Secrets and files are given to a runner once, and it keeps them.
        given = (spec.stage, spec.secrets, spec.files, spec.mounts)
        made = (spec.name, spec.environment, spec.machine_type, setup)
        kept = (spec.owner, *made, *given, scaling)
        key = hashlib.sha256(repr(kept).encode()).hexdigest()
        pool = self._pools.get(key)
        if pool is None or pool.closed:
            for other, each in list(self._pools.items()) if len(self._pools) > _MOST else ():
                if not each.runners:
                    del self._pools[other]
            pool = self._pools[key] = self._make_pool(spec, scaling)
        return pool

    def environment_id(self, pool: RunnerPool, spec: RunnerSpec) -> str:
        """
        Return the id of the environment of the runners of *pool*.

        It is kept for as long as there are runners: to compute it takes as long as
        everything else that is done here for a call.
        """
        if not pool.live or pool not in self._ids:
            self._ids[pool] = spec.environment.key
        return self._ids[pool]

    async def acquire(self, pool: RunnerPool, run_id: str) -> Runner:
        """
        Wait for a runner of *pool* that is free, and take it for a run.

        Raises:
            NoRunner: None comes up, or the pool is closed.
        """
        _starting.set(run_id)
        return await pool.acquire()

    def close(self) -> None:
        """
        End all runners of functions.
        """
        for pool in self._pools.values():
            pool.kill()

    def _make_pool(self, spec: RunnerSpec, scaling: Scaling) -> RunnerPool:
        bare = spec.bare()

        def launch(changed: Callable[[Runner], None]) -> Runner:
            runner = self._launcher.launch(
                bare, self._payloads.tidying(changed), starting_request=_starting.get()
            )
            self._tasks.spawn(_be_ready_with_control(runner))
            return runner

        # One call at a time: a runner is ended to end its call.
        one = attrs.evolve(scaling, max_multiplexing=1, startup_timeout=None)
        return RunnerPool(one, launch, patient=False)


async def _be_ready_with_control(runner: Runner) -> None:
    """
    Let a runner take calls once its agent listens.
    """
    try:
        await runner.wait_for_control()
    except RunnerLost:
        return
    runner.become_ready()
