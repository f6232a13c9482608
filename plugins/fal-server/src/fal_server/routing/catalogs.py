"""The catalog of applications, by owner and alias."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import attrs
from google.protobuf.json_format import MessageToDict
from isolate_proto import controller_pb2 as wire
from yarl import URL

from fal_server.access.callers import Caller
from fal_server.activity.deployment_records import DeploymentRecords
from fal_server.errors import STATE_TROUBLE, NotFound
from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application, Failure
from fal_server.routing.revision_pools import RevisionPools, make_closed_pool
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.health_checks import HealthProbe
from fal_server.specs.requested_environments import with_integers
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks, insist, uninterrupted
from fal_server.store.revisions import Alias, Revisions, full_alias
from fal_server.store.runner_records import RunnerTimes

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class ApplicationCatalog:
    """
    Looks up applications, and registers, changes and removes them.

    Attributes:
        applications: The applications, by the nickname of the owner and the alias.

        runs: The runners of the runs in progress, by the id of the run.

        tasks: What goes on in the background.
    """

    revisions: Revisions
    fleet: RevisionPools
    history: DeploymentRecords
    applications: dict[tuple[str, str], Application] = attrs.field(factory=dict)
    runs: dict[str, Runner] = attrs.field(factory=dict)
    tasks: Tasks = attrs.field(factory=Tasks)
    _locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = attrs.field(
        factory=WeakValueDictionary
    )

    # -- lookups -------------------------------------------------------------------------

    def find(self, owner_name: str, alias: str) -> Application:
        """
        Return the application with this owner and alias.

        Raises:
            NotFound: There is none.
        """
        application = self.applications.get((owner_name, alias))
        if application is None:
            raise NotFound(f"Application {owner_name[:80]}/{alias[:80]} was not found.")
        return application

    def find_own(self, caller: Caller, alias: str, stage: str = "") -> Application:
        """
        Return a deployed application of *caller*.

        Raises:
            NotFound: There is none.
        """
        application = self.applications.get((caller.nickname, full_alias(alias, stage)))
        if application is None or application.owner != caller.user_id or application.ephemeral:
            raise NotFound(f"Application {alias[:80]!r} was not found.")
        return application

    def list_of(self, account_id: str) -> list[Application]:
        """Return the applications of an account, including ephemeral ones."""
        return [each for each in self.applications.values() if each.owner == account_id]

    def runner_of_run(self, account_id: str, run_id: str) -> Runner | None:
        """Return the runner of a run of an account, or None if no such run is in progress."""
        runner = self.runs.get(run_id)
        return runner if runner is not None and runner.spec.owner == account_id else None

    def find_runner(self, account_id: str, runner_id: str) -> tuple[Application, Runner]:
        """
        Return a live runner of an account, and its application.

        Raises:
            NotFound: There is none.
        """
        for application in self.list_of(account_id):
            for runner in application.runners:
                if runner.id == runner_id:
                    return application, runner
        raise NotFound(f"Runner {runner_id[:80]!r} was not found.")

    async def metadata(self, caller: Caller, owner: str, alias: str) -> Mapping[str, Any]:
        """
        Return the metadata with which an application was registered.

        Raises:
            NotFound: There is no such application that *caller* may see.
        """
        application = self.find(owner, alias)
        private = application.auth_mode == wire.PRIVATE
        if private and application.owner != caller.user_id:
            raise NotFound(f"Application {owner[:80]}/{alias[:80]} was not found.")
        if not application.revision:
            return {}
        request = await self.revisions.request_of(application.revision)
        content: Mapping[str, Any] = with_integers(MessageToDict(request.metadata))
        return content

    async def times(self, caller: Caller, runner_id: str) -> RunnerTimes:
        """
        Return when a runner started, and when it ended.

        Raises:
            NotFound: There is no such runner of *caller*.
        """
        try:
            _, runner = self.find_runner(caller.user_id, runner_id)
        except NotFound:
            return await self.fleet.records.times(caller.user_id, runner_id)
        return RunnerTimes(started_at=runner.started_at, ended_at=runner.ended_at)

    # -- changes ---------------------------------------------------------------------------

    def add_ephemeral(self, application: Application) -> None:
        """Add an application that lives only as long as a run."""
        self.applications[application.owner_name, application.alias] = application

    def remove_ephemeral(self, application: Application) -> None:
        """Remove an application whose run has ended."""
        self._remove(application)

    @uninterrupted
    async def set_scaling(self, application: Application, scaling: Scaling) -> None:
        """Change and store the settings of an application."""
        async with self.changing((application.owner_name, application.alias)):
            await self.revisions.set_scaling(application.owner, application.alias, scaling)
            application.set_scaling(scaling)

    @uninterrupted
    async def delete_alias(self, application: Application, *, key_id: str = "") -> None:
        """
        Remove an alias. Requests that it has already are finished.

        Arguments:
            key_id: The key with which that was asked for.
        """
        async with self.changing((application.owner_name, application.alias)):
            found = (application.owner, application.alias)
            await self.revisions.delete_alias(*found, key_id=key_id)
            self._remove(application)
            application.close(self.tasks)

    @uninterrupted
    async def delete_revision(self, caller: Caller, revision_id: str) -> None:
        """
        Remove a revision, and the aliases that lead to it. A deployment of it that is under
        way is dropped.

        Raises:
            NotFound: *caller* has no such revision.
        """
        await self.revisions.find(caller.user_id, revision_id)
        for application in self.list_of(caller.user_id):
            await self._drop_takeover(application, revision_id)
            if application.revision == revision_id:
                await self.delete_alias(application, key_id=caller.key_id)
        await self.revisions.delete(revision_id)

    async def _drop_takeover(self, application: Application, revision_id: str) -> None:
        """Drop the deployment of a revision to an application, if that is under way."""
        async with self.changing((application.owner_name, application.alias)):
            takeover = application.takeover
            if takeover is not None and takeover.revision == revision_id:
                application.supersede(self.tasks)
                await self.revisions.abandon(application.owner, application.alias, revision_id)

    def changing(self, key: tuple[str, str]) -> asyncio.Lock:
        """Return the lock of an alias, held while it is changed in the state and in memory."""
        return self._locks.setdefault(key, asyncio.Lock())

    def add(self, alias: Alias, pool: RunnerPool) -> Application:
        """Add an application, whose requests *pool* takes."""
        application = Application(
            owner=alias.account_id,
            owner_name=alias.owner_name,
            alias=alias.alias,
            auth_mode=alias.auth_mode,
            pool=pool,
            stage=alias.stage,
            revision=alias.revision,
            scaling=alias.scaling,
        )
        found = (alias.account_id, alias.alias)

        def recovered() -> None:
            revision = application.revision
            self.tasks.spawn(insist(lambda: self.history.came_up(*found, revision)))

        application.recovered = recovered
        self.applications[alias.owner_name, alias.alias] = application
        return application

    def _remove(self, application: Application) -> None:
        self.applications.pop((application.owner_name, application.alias), None)

    async def spec_of(self, alias: Alias) -> RunnerSpec:
        """
        Return what the runners of the revision run that an alias leads to.

        Raises:
            NotFound: The revision was removed.
        """
        return await self.fleet.spec_of(alias.revision, alias.account_id, alias.alias)

    # -- start and end ---------------------------------------------------------------------

    async def restore(self) -> None:
        """Restore the registered applications."""
        for alias in await self.revisions.aliases():
            await self._restore(alias)

    async def attach(self, takeovers: Iterable[tuple[Alias, RunnerPool]]) -> None:
        """
        Attach to the runners of an earlier server, and start the health checks.

        Arguments:
            takeovers: The pools that are to take over requests, and how the alias of each is
                to be.
        """
        pools = {
            (each.owner, each.alias, each.revision): each.pool
            for each in self.applications.values()
            if not each.broken
        }
        for alias, pool in takeovers:
            pools[alias.account_id, alias.alias, alias.revision] = pool
        records = await self.fleet.records.unfinished()
        known = {record.id for record in records}
        await asyncio.to_thread(self.fleet.payloads.drop_left, known)
        await asyncio.to_thread(self.fleet.launcher.hosts.drop_left, known)
        for record in records:
            # Without a pool, as for an earlier revision, a runner is drained.
            found = pools.get((record.account_id, record.alias, record.revision))
            await self.fleet.attach(record, found)
        for application in self.applications.values():
            application.pool.adjust()
        self.tasks.spawn(check_health(self.applications.values(), self.tasks))

    async def _restore(self, alias: Alias) -> None:
        """
        Restore a registered application. One that cannot be read is marked as broken, so
        that the others can be used.
        """
        try:
            spec = await self.spec_of(alias)
        except STATE_TROUBLE:
            raise
        except Exception as error:
            name = f"{alias.owner_name}/{alias.alias}"
            logger.error("Cannot read application %s: %s", name, error)
            application = self.add(alias, make_closed_pool())
            application.broken = f"The server cannot read the application {name}. {error}"
            application.private_logs = True
            return
        pool = self.fleet.make_pool(alias.revision, spec, alias.scaling)
        application = self.add(alias, pool)
        application.lead_to(alias, spec)
        found = await self.history.find_failure(alias.account_id, alias.alias, alias.revision)
        if found is not None:
            application.fail(Failure(*found))

    async def close(self) -> None:
        """Stop managing runners. Detached ones keep running."""
        await self.tasks.close()
        await self.fleet.close()
        for application in self.applications.values():
            application.pool.detach()


#: Seconds between two rounds.
_INTERVAL = 5.0


async def check_health(applications: Collection[Application], tasks: Tasks) -> None:
    """
    Check the runners of *applications* in rounds, and end those that fail too often.

    Each check runs in a task of its own, so that a slow runner does not hold up the
    others. A runner is not checked again before its last check has ended.

    Arguments:
        applications: A live view. Each round checks the applications that there are then.
    """
    in_progress: set[Runner] = set()
    while True:
        await asyncio.sleep(_INTERVAL)
        for application in list(applications):
            for runner in application.pool.runners:
                check = runner.spec.health_check
                if check is None or not runner.is_running or runner in in_progress:
                    continue
                in_progress.add(runner)
                tasks.spawn(_check_once(runner, check, in_progress))


async def _check_once(runner: Runner, check: HealthProbe, in_progress: set[Runner]) -> None:
    try:
        await _check(runner, check)
    finally:
        in_progress.discard(runner)


async def _check(runner: Runner, check: HealthProbe) -> None:
    if not check.call_regularly:
        return
    if runner.in_flight and not check.allow_on_busy:
        return
    if await _is_healthy(runner, check):
        runner.failed_checks = 0
        return
    age = time.monotonic() - (runner.running_since or 0.0)
    if age < check.start_period:
        return
    runner.failed_checks += 1
    if runner.failed_checks >= check.failure_threshold:
        runner.end_sick("It no longer answered its health check.")


async def _is_healthy(runner: Runner, check: HealthProbe) -> bool:
    """Send a health check to a runner, and return whether it succeeded."""
    path = URL("/" + check.path.lstrip("/")).raw_path_qs
    try:
        async with runner.ask(
            check.method,
            path,
            headers={"x-fal-runner-health-check": "true"},
            seconds=check.timeout,
        ) as upstream:
            return upstream.status < 300
    except (asyncio.TimeoutError, OSError):
        return False
