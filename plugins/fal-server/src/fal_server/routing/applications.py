"""
Applications: what an alias stands for at present, and how its runners are replaced.
"""

from __future__ import annotations

import asyncio

import attrs

from fal_server.fleet.runners import Runner
from fal_server.routing.runner_pools import RunnerPool
from fal_server.routing.takeovers import Takeover
from fal_server.specs.request_retries import Retries
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks


@attrs.define(eq=False)
class Application:
    """
    What an alias stands for at present.

    Attributes:
        revision: The id of the revision; empty for one that lives as long as a run.

        pool: The runners that take requests.

        older: Pools of revisions that are on their way out.

        newest: The pool that is to take over once it is up.

        rolling: What waits until the newest pool is up.

        retries: How often its queued requests are tried again.

        private_logs: Whether its owner alone sees what is printed for a request.

        broken: Why it has no runners, as a sentence: this server cannot read what it was
            registered with. Empty where it can.
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
    retries: Retries = attrs.field(factory=Retries)
    private_logs: bool = False
    broken: str = ""

    def follow(self, spec: RunnerSpec) -> None:
        """
        Treat requests as what *spec* was read from says.
        """
        self.retries, self.private_logs = spec.retries, spec.private_logs
        self.broken = ""

    @property
    def runners(self) -> list[Runner]:
        """
        All its runners, those of older revisions included.
        """
        return [runner for pool in self.pools for runner in pool.runners]

    @property
    def pools(self) -> tuple[RunnerPool, ...]:
        """
        All its pools, those of older revisions included.
        """
        return (self.pool, *self.older, *self._present[1:])

    def set_scaling(self, scaling: Scaling) -> None:
        """
        Use other settings from now on.
        """
        self.scaling = scaling
        for pool in self._present:
            pool.set_scaling(scaling)

    def replace(self, pool: RunnerPool, tasks: Tasks, *, rolling: bool) -> Takeover:
        """
        Have *pool* take over: at once, or once it is up where runners answer meanwhile.
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
        Take no more requests; those that it has finish.
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
        Start a runner of the new revision, and switch to it once it is ready.
        """
        pause = 0.5
        while True:
            runner = pool.start_one()
            runner.lines.follow = takeover.take
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
        Let *pool* take the requests, those that wait included.
        """
        old, self.pool = self.pool, pool
        old.move_waiting(pool)
        old.close()
        self.older.append(old)
        pool.adjust()
        tasks.spawn(self._forget(old))

    async def _forget(self, old: RunnerPool) -> None:
        await old.empty.wait()
        self.older.remove(old)


def lines_of(owner: str, alias: str) -> str:
    """
    Return what the echo of the lines of an application is called.
    """
    return f"{owner}\0{alias}"
