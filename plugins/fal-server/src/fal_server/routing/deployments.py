"""
Deployments: how a revision takes over the requests of an application.

A runner of the revision is started first, and the alias leads to the revision once that
has come up. Until then, the previous revision goes on in any case.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

import attrs
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.activity.announcements import announce
from fal_server.activity.deployment_records import (
    DEPLOY,
    SET,
    DeploymentRecord,
    read_notes,
)
from fal_server.errors import STATE_TROUBLE, NotNow
from fal_server.routing.applications import Application, Failure
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.refusals import ApplicationUnreadable
from fal_server.routing.runner_pools import RunnerPool
from fal_server.routing.takeovers import Takeover
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling, read_deployed
from fal_server.state.tasks import insist, uninterrupted
from fal_server.store.revisions import Alias, Revision

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Deployments:
    """Deploys revisions to the applications of a catalog."""

    catalog: ApplicationCatalog

    async def start(self) -> None:
        """
        Restore what is deployed, attach to its runners, and go on with the deployments that
        an earlier server has begun.
        """
        await self.catalog.restore()
        takeovers = await self._read_planned()
        await self.catalog.attach([(target, each.pool) for each, target, _ in takeovers])
        for takeover, target, spec in takeovers:
            if takeover.previous:
                # Their runners are known only now.
                before = self.catalog.find(target.owner_name, target.alias)
                takeover.crowded = await self._crowding(before, spec, target.scaling)
            self._begin(takeover, target, spec)

    @uninterrupted
    async def register(
        self,
        caller: Caller,
        request: RegisterApplicationRequest,
        spec: RunnerSpec,
        *,
        rolling: bool,
    ) -> tuple[Revision, Takeover]:
        """
        Store a revision, and start a runner of it. Once that has come up the alias leads to
        the revision; where nothing serves yet, at once.

        Arguments:
            spec: What *request* asks to run. Its application is the alias.

            rolling: Whether the old runners take requests until then.
        """
        alias, key = spec.application, (caller.nickname, spec.application)
        async with self.catalog.changing(key):
            before = self.catalog.applications.get(key)
            scaling = read_deployed(request.machine_requirements)
            if before is not None and not request.scale:
                scaling = before.scaling.with_revision(scaling)
            auth_mode = before.auth_mode if before is not None else wire.PRIVATE
            if request.HasField("auth_mode"):
                auth_mode = request.auth_mode
            await self._check_seclusion(spec, auth_mode)
            revision = Revision(
                id=secrets.token_hex(16),
                account_id=caller.user_id,
                alias=alias,
                stage=request.environment_name or "main",
                scaling=scaling,
                created_at=time.time(),
                server_host=spec.server_host,
            )
            bare = spec.bare()
            takeover = await self._plan(before, revision.id, bare, scaling, rolling=rolling)
            await self.catalog.revisions.add(
                revision,
                request,
                auth_mode,
                rolling=rolling if takeover.previous else None,
                record=_record_of(revision, request, caller, action=DEPLOY),
            )
            target = _to_alias(caller.nickname, revision, auth_mode, scaling)
            self._begin(takeover, target, bare)
            return revision, takeover

    @uninterrupted
    async def set_alias(
        self, caller: Caller, alias: str, revision_id: str, auth_mode: int | None, rolling: bool
    ) -> Takeover:
        """
        Point *alias* to an existing revision once a runner of it has come up; where nothing
        serves yet, at once.

        Arguments:
            auth_mode: Who may use the application. None keeps the mode of the alias.

            rolling: Whether the old runners take requests until then.

        Raises:
            NotFound: There is no such revision.
        """
        key = (caller.nickname, alias)
        async with self.catalog.changing(key):
            revision = await self.catalog.revisions.find(caller.user_id, revision_id)
            request = await self.catalog.revisions.request_of(revision_id)
            spec = await self.catalog.fleet.spec_of(revision_id, caller.user_id, alias)
            before = self.catalog.applications.get(key)
            scaling = revision.scaling
            if before is not None:
                scaling = before.scaling.with_revision(scaling)
            if auth_mode is None:
                auth_mode = before.auth_mode if before is not None else wire.PRIVATE
            await self._check_seclusion(spec, auth_mode)
            takeover = await self._plan(before, revision_id, spec, scaling, rolling=rolling)
            renamed = attrs.evolve(revision, alias=alias)
            target = _to_alias(caller.nickname, renamed, auth_mode, scaling)
            record = _record_of(revision, request, caller, action=SET)
            if takeover.previous:
                await self.catalog.revisions.plan(target, rolling=rolling, record=record)
            else:
                await self.catalog.revisions.point(target, record=record)
            self._begin(takeover, target, spec)
            return takeover

    async def rollout(self, application: Application, *, force: bool) -> Takeover | None:
        """
        Replace the runners of an application by new ones of the same revision. Return the
        progress; None where there is nothing to wait for.

        Arguments:
            force: Whether to end the runners at once.

        Raises:
            NotNow: It is being deployed.
        """
        async with self.catalog.changing((application.owner_name, application.alias)):
            if application.takeover is not None:
                raise NotNow(
                    f"Application {application.alias!r} is being deployed: its runners are "
                    "replaced once a new one has come up."
                )
            spec, revision = application.spec, application.revision
            if spec is None:
                raise ApplicationUnreadable(application.broken)
            if force or not application.pool.live:
                application.switch(self._make_pool_of(application), self.catalog.tasks)
                if force:
                    application.kill_older()
                return None
            takeover = await self._plan(
                application, revision, spec, application.scaling, rolling=True
            )

            async def finish() -> None:
                if application.takeover is takeover:
                    application.complete(takeover, self.catalog.tasks)

            takeover.finish = finish
            application.begin(takeover, self.catalog.tasks)
            return takeover

    async def _check_seclusion(self, spec: RunnerSpec, auth_mode: int) -> None:
        """
        Check that local users do not reach what they may not use.

        Raises:
            OpenRunner: They would.
        """
        check = self.catalog.fleet.launcher.hosts.check
        # A host may have to be asked.
        await asyncio.to_thread(check, spec, is_public=auth_mode == wire.PUBLIC)

    # -- how a deployment goes on ----------------------------------------------------------

    async def _plan(
        self,
        before: Application | None,
        revision: str,
        spec: RunnerSpec,
        scaling: Scaling,
        *,
        rolling: bool,
    ) -> Takeover:
        """Return how the runners of a revision take over from those of the application *before*."""
        pool = self.catalog.fleet.make_pool(revision, spec, scaling)
        takeover = Takeover(pool, revision)
        if before is not None and before.failure is not None:
            takeover.failing_since = before.failure.since
        if before is None or before.broken or before.failure is not None:
            # Nothing serves that could go on.
            return takeover
        takeover.previous, takeover.rolling = before.revision, rolling
        takeover.crowded = await self._crowding(before, spec, scaling)
        if not rolling:
            takeover.restore = lambda: self._make_pool_of(before)
        return takeover

    async def _crowding(self, before: Application, spec: RunnerSpec, scaling: Scaling) -> str:
        """Return why the runners of the application *before* leave no room for another."""
        return await self.catalog.fleet.crowding(before.pool.live, spec, scaling)

    def _begin(self, takeover: Takeover, target: Alias, spec: RunnerSpec) -> None:
        """Let *takeover* begin, after which the alias is as *target* says."""
        application = self.catalog.applications.get((target.owner_name, target.alias))
        if application is None:
            application = self.catalog.add(target, takeover.pool)
        if not takeover.previous:
            application.lead_to(target, spec)
            application.switch(takeover.pool, self.catalog.tasks)

        began = time.monotonic()

        async def finish() -> None:
            await insist(lambda: self._finish(application, takeover, target, spec))
            if not takeover.superseded:
                seconds = time.monotonic() - began
                _announce(takeover, target, "deployed", f"serves after {seconds:.1f} s")

        async def abandon(why: str) -> None:
            await insist(lambda: self._abandon(application, takeover, target, why))
            found = None
            if not takeover.previous:
                names = (target.account_id, target.alias, target.revision)
                found = await insist(lambda: self.catalog.history.find_failure(*names))
            if application.takeover is not takeover:
                return
            if found is not None:
                application.fail(Failure(*found))
            stays = f", and {takeover.previous[:12]} goes on" if takeover.previous else ""
            if takeover.rolling and takeover.advice:
                why = f"{why} {takeover.advice}"
            _announce(takeover, target, "deployment-failed", f"does not serve{stays}", why=why)

        takeover.finish, takeover.abandon = finish, abandon
        application.begin(takeover, self.catalog.tasks)

    @uninterrupted
    async def _finish(
        self, application: Application, takeover: Takeover, target: Alias, spec: RunnerSpec
    ) -> None:
        """Store that a takeover has succeeded, and complete it, unless it was superseded."""
        async with self.catalog.changing((target.owner_name, target.alias)):
            if application.takeover is not takeover:
                return
            # The settings may have been changed meanwhile.
            target = attrs.evolve(target, scaling=takeover.pool.scaling)
            await self.catalog.revisions.point(target)
            application.lead_to(target, spec)
            application.complete(takeover, self.catalog.tasks)

    @uninterrupted
    async def _abandon(
        self, application: Application, takeover: Takeover, target: Alias, why: str
    ) -> None:
        """Store that a takeover has failed, unless it was superseded."""
        async with self.catalog.changing((target.owner_name, target.alias)):
            if application.takeover is takeover:
                found = (target.account_id, target.alias, target.revision)
                await self.catalog.revisions.abandon(*found, failed=why)

    def _make_pool_of(self, application: Application) -> RunnerPool:
        """Make another pool for the revision that an application has."""
        assert application.spec is not None
        return self.catalog.fleet.make_pool(
            application.revision, application.spec, application.scaling
        )

    async def _read_planned(self) -> list[tuple[Takeover, Alias, RunnerSpec]]:
        """
        Read the takeovers that an earlier server has begun and not finished. One that cannot
        be read is dropped.
        """
        found = []
        for target, rolling in await self.catalog.revisions.planned():
            before = self.catalog.applications.get((target.owner_name, target.alias))
            try:
                spec = await self.catalog.spec_of(target)
            except STATE_TROUBLE:
                raise
            except Exception as error:
                logger.error(
                    "Cannot read revision %s, which does not take over %s/%s: deploy it again. "
                    "%s",
                    target.revision,
                    target.owner_name,
                    target.alias,
                    error,
                )
                found_of = (target.account_id, target.alias, target.revision)
                await self.catalog.revisions.abandon(*found_of, failed=str(error))
                continue
            takeover = await self._plan(
                before, target.revision, spec, target.scaling, rolling=rolling
            )
            found.append((takeover, target, spec))
        return found


def _announce(
    takeover: Takeover, target: Alias, event: str, what: str, *, why: str = ""
) -> None:
    sentence = f"revision {takeover.revision[:12]} {what}" + (f": {why}" if why else "")
    facts = {"application": f"{target.owner_name}/{target.alias}"}
    if why:
        facts["reason"] = why
    announce(event, sentence, failed=bool(why), revision=takeover.revision, **facts)


def _record_of(
    revision: Revision, request: RegisterApplicationRequest, caller: Caller, *, action: str
) -> DeploymentRecord:
    message, annotations = read_notes(request.metadata)
    return DeploymentRecord(
        revision=revision.id,
        action=action,
        message=message,
        annotations=annotations,
        key_id=caller.key_id,
    )


def _to_alias(owner_name: str, revision: Revision, auth_mode: int, scaling: Scaling) -> Alias:
    return Alias(
        account_id=revision.account_id,
        owner_name=owner_name,
        alias=revision.alias,
        stage=revision.stage,
        revision=revision.id,
        auth_mode=auth_mode,
        scaling=scaling,
    )
