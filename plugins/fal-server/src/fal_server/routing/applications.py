"""
Applications: the revisions behind aliases, and how their runners are replaced.
"""

from __future__ import annotations

import asyncio

import attrs

from fal_server.fleet.runners import Runner
from fal_server.routing.runner_pools import RunnerPool
from fal_server.routing.takeovers import Takeover
from fal_server.specs.request_retries import RequestRetries
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks


@attrs.define(eq=False)
class Application:
    """
    An alias, and the runners that take its requests at present.

    Attributes:
        owner: The account that owns it.

        owner_name: The nickname of the owner, as in URLs.

        revision: The id of its revision. Empty for an ephemeral one.

        ephemeral: Whether it lives only as long as a run.

        pool: The pool that takes requests.

        older: Pools of earlier revisions whose runners still have requests.

        newest: The pool that takes over once one of its runners is ready. None where no
            deployment is rolling.

        rolling: The task that waits for a ready runner of *newest*.

        retries: How often its queued requests are retried.

        private_logs: Whether only its owner may read the log lines of a request.

        broken: Why this server cannot read its registration, as a sentence. Such an
            application has no runners. Empty where it can be read.
    """

    owner: str
    owner_name: str
    alias: str
    auth_mode: int
    pool: RunnerPool
    stage: str = "main"
    revision: str = ""
    ephemeral: bool = False
    scaling: Scaling = attrs.field(factory=Scaling)
    older: list[RunnerPool] = attrs.field(factory=list)
    rolling: asyncio.Task[None] | None = None
    newest: RunnerPool | None = None
    retries: RequestRetries = attrs.field(factory=RequestRetries)
    private_logs: bool = False
    broken: str = ""

    def apply(self, spec: RunnerSpec) -> None:
        """
        Use the settings of *spec* for requests.
        """
        self.retries, self.private_logs = spec.retries, spec.private_logs
        self.broken = ""

    @property
    def runners(self) -> list[Runner]:
        """
        The runners of all its pools.
        """
        return [runner for pool in self.pools for runner in pool.runners]

    @property
    def pools(self) -> tuple[RunnerPool, ...]:
        """
        Its pools: the present one, the older ones and the newest.
        """
        return (self.pool, *self.older, *self._present[1:])

    def set_scaling(self, scaling: Scaling) -> None:
        """
        Change the settings of its present and its newest pool.
        """
        self.scaling = scaling
        for pool in self._present:
            pool.set_scaling(scaling)

    def replace(self, pool: RunnerPool, tasks: Tasks, *, rolling: bool) -> Takeover:
        """
        Let *pool* take over the requests.

        Arguments:
            rolling: Whether to wait until a runner of the pool is ready, if there are
                runners that take requests meanwhile. Otherwise it takes over at once.
        """
        self._stop_rolling()
        takeover = Takeover()
        if rolling and self.pool.live:
            self.newest = pool
            self.rolling = tasks.spawn(self._roll(pool, takeover, tasks))
            self.rolling.add_done_callback(
                lambda task: takeover.end(superseded=task.cancelled())
            )
        else:
            self._switch(pool, tasks)
            takeover.end(superseded=False)
        return takeover

    def close(self) -> None:
        """
        Accept no more requests. The runners finish those that it has.
        """
        self._stop_rolling()
        self.pool.close()

    @property
    def _present(self) -> tuple[RunnerPool, ...]:
        return (self.pool,) if self.newest is None else (self.pool, self.newest)

    def _stop_rolling(self) -> None:
        if self.rolling is not None:
            self.rolling.cancel()
        if self.newest is not None:
            self.newest.close()
        self.rolling = self.newest = None

    async def _roll(self, pool: RunnerPool, takeover: Takeover, tasks: Tasks) -> None:
        """
        Start runners in *pool* until one is ready, and then switch to the pool.
        """
        pause = 0.5
        while True:
            runner = pool.start_one()
            runner.lines.follow = takeover.publish
            await runner.ready.wait()
            if runner.is_running:
                runner.lines.follow = None
                break
            takeover.note_failure(runner)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 30.0)
        self.rolling = self.newest = None
        self._switch(pool, tasks)

    def _switch(self, pool: RunnerPool, tasks: Tasks) -> None:
        """
        Let *pool* take all requests, including those that wait, and wind down the old pool.
        """
        old, self.pool = self.pool, pool
        old.move_waiting(pool)
        old.close()
        self.older.append(old)
        pool.adjust()
        tasks.spawn(self._remove_once_empty(old))

    async def _remove_once_empty(self, old: RunnerPool) -> None:
        await old.empty.wait()
        self.older.remove(old)


def echo_key(owner: str, alias: str) -> str:
    """
    Return the key of the callback that echoes the log lines of an application.
    """
    return f"{owner}\0{alias}"
