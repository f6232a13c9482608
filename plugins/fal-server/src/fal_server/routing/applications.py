"""Applications: the revisions behind aliases, and how their runners are replaced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import attrs

from fal_server.activity.measurements import Name
from fal_server.fleet.runners import Runner
from fal_server.routing.runner_pools import RunnerPool
from fal_server.routing.takeovers import Takeover
from fal_server.specs.request_retries import RequestRetries
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks
from fal_server.store.revisions import Alias


@attrs.frozen
class Failure:
    """
    Why no runner of an application has come up since it was deployed.

    Attributes:
        since: When the first of its deployments had failed, in seconds since the epoch.

        reason: Why the last has, as a sentence.
    """

    since: float
    reason: str

    def __str__(self) -> str:
        return f"{describe_since(self.since)} {self.reason}"


@attrs.define(eq=False)
class Application:
    """
    An alias, and the runners that take its requests at present.

    Attributes:
        owner: The account that owns it.

        owner_name: The nickname of the owner, as in URLs.

        revision: The id of its revision. Empty for an ephemeral one.

        spec: What its runners run. None for an ephemeral one, and for one that is broken.

        ephemeral: Whether it lives only as long as a run.

        pool: The pool that takes requests.

        older: Pools of earlier revisions whose runners still have requests.

        takeover: The deployment whose first runner has not come up yet. None where there is
            none.

        retries: How often its queued requests are retried.

        private_logs: Whether only its owner may read the log lines of a request.

        broken: Why this server cannot read its registration, as a sentence. Such an
            application has no runners. Empty where it can be read.

        failure: Why no runner of it has come up. None where one has, or is awaited.

        recovered: Called when one has come up after a failure.
    """

    owner: str
    owner_name: str
    alias: str
    auth_mode: int
    pool: RunnerPool
    stage: str = "main"
    revision: str = ""
    spec: RunnerSpec | None = None
    ephemeral: bool = False
    scaling: Scaling = attrs.field(factory=Scaling)
    older: list[RunnerPool] = attrs.field(factory=list)
    takeover: Takeover | None = None
    retries: RequestRetries = attrs.field(factory=RequestRetries)
    private_logs: bool = False
    broken: str = ""
    failure: Failure | None = None
    recovered: Callable[[], None] = lambda: None
    _taking_over: asyncio.Future[None] | None = None

    def lead_to(self, alias: Alias, spec: RunnerSpec) -> None:
        """Be as *alias* says, whose runners run *spec*."""
        self.revision, self.auth_mode = alias.revision, alias.auth_mode
        self.scaling, self.stage = alias.scaling, alias.stage
        self.spec = spec
        self.retries, self.private_logs = spec.retries, spec.private_logs
        self.broken, self.failure = "", None

    def __attrs_post_init__(self) -> None:
        self.pool.came_up = self._came_up

    def fail(self, failure: Failure) -> None:
        """Refuse each request once a runner for it has not come up either, until one has."""
        self.failure, self.pool.patient = failure, False

    def _came_up(self) -> None:
        if self.failure is not None:
            self.failure, self.pool.patient = None, True
            self.recovered()

    @property
    def counted_name(self) -> Name | None:
        """The name under which its requests are counted. None for an ephemeral one."""
        return (self.owner, self.alias) if self.revision else None

    @property
    def runners(self) -> list[Runner]:
        """The runners of all its pools."""
        return [runner for pool in self.pools for runner in pool.runners]

    @property
    def pools(self) -> tuple[RunnerPool, ...]:
        """Its pools: the present one, the older ones and the one that is to take over."""
        return (self.pool, *self.older, *self._present[1:])

    @property
    def _present(self) -> tuple[RunnerPool, ...]:
        if self.takeover is None or self.takeover.pool is self.pool:
            return (self.pool,)
        return (self.pool, self.takeover.pool)

    def set_scaling(self, scaling: Scaling) -> None:
        """Change the settings of its pool, and of the one that is to take over."""
        self.scaling = scaling
        takeover = self.takeover
        # Another revision keeps the settings that it has declared.
        other = takeover.pool if takeover and takeover.revision != self.revision else None
        for pool in self._present:
            is_other = pool is other
            pool.set_scaling(scaling.with_revision(pool.scaling) if is_other else scaling)

    def begin(self, takeover: Takeover, tasks: Tasks) -> None:
        """
        Let the pool of *takeover* take over once its first runner has come up, in place of
        any other deployment that has not.

        Its pool may be the present one, if nothing else serves.
        """
        self.supersede(tasks)
        self.takeover = takeover
        self._taking_over = tasks.spawn(self._take_over(takeover, tasks))
        # Its followers are told, even if the server ends.
        self._taking_over.add_done_callback(lambda _: takeover.end(superseded=True))

    def complete(self, takeover: Takeover, tasks: Tasks) -> None:
        """Let the pool of *takeover*, whose first runner has come up, take all requests."""
        self.takeover = None
        self.switch(takeover.pool, tasks)
        takeover.end()

    def supersede(self, tasks: Tasks) -> None:
        """Drop the deployment whose first runner has not come up yet, if there is one."""
        takeover, self.takeover = self.takeover, None
        if takeover is None:
            return
        if self._taking_over is not None:
            self._taking_over.cancel()
        takeover.end(superseded=True)
        self._drop(takeover, tasks)

    def switch(self, pool: RunnerPool, tasks: Tasks) -> None:
        """Let *pool* take all requests, including those that wait, and wind down the old pool."""
        if pool is self.pool:
            pool.adjust()
            return
        old, self.pool = self.pool, pool
        pool.came_up, pool.patient = self._came_up, self.failure is None
        old.move_waiting(pool)
        old.close()
        self.older.append(old)
        pool.adjust()
        tasks.spawn(self._remove_once_empty(old))

    def close(self, tasks: Tasks) -> None:
        """Accept no more requests. The runners finish those that it has."""
        self.supersede(tasks)
        self.pool.close()

    def kill_older(self) -> None:
        """End the runners of its older pools at once."""
        for pool in list(self.older):
            pool.kill()

    async def _take_over(self, takeover: Takeover, tasks: Tasks) -> None:
        if not takeover.rolling:
            await self._end_previous(takeover, tasks)
        failed = await takeover.try_first_runner()
        if failed is None:
            await takeover.finish()
            return
        # Before anybody is told: another server would begin it once more.
        await takeover.abandon(failed.why_it_ended)
        if self.takeover is not takeover:
            return
        self.takeover = None
        self._drop(takeover, tasks)
        takeover.end(failed=failed)

    async def _end_previous(self, takeover: Takeover, tasks: Tasks) -> None:
        """
        End the runners that have no request, and have requests wait for the new pool. Where
        the previous runners leave no room for another, those with requests end as well.
        """
        previous, pool = self.pool, takeover.pool
        pool.on_hold = True
        self.switch(pool, tasks)
        for runner in list(previous.runners):
            if not runner.in_flight:
                await runner.ended.wait()
        if takeover.crowded:
            await previous.empty.wait()
        pool.on_hold = False

    def _drop(self, takeover: Takeover, tasks: Tasks) -> None:
        """Go on with the pool of the previous revision, if there is one."""
        if takeover.pool is not self.pool:
            takeover.pool.close()
        elif takeover.restore is not None:
            self.switch(takeover.restore(), tasks)

    async def _remove_once_empty(self, old: RunnerPool) -> None:
        await old.empty.wait()
        self.older.remove(old)


def describe_since(seconds: float) -> str:
    """Return since when no runner of an application has come up, as a sentence."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    return f"No runner of it has come up since {since}."


def echo_key(owner: str, alias: str) -> str:
    """Return the key of the callback that echoes the log lines of an application."""
    return f"{owner}\0{alias}"
