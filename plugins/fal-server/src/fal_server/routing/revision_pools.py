"""Revision pools: the runners of applications, which outlive the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import attrs

from fal_core.environments import CurrentEnvironment
from fal_core.errors import FalCoreError
from fal_server.claims.replicas import name_machine
from fal_server.errors import STATE_TROUBLE
from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.payloads import Payloads
from fal_server.fleet.runners import Runner
from fal_server.fleet.serving import serve
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.runner_specs import Message, RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks, insist
from fal_server.store.accounts import nickname_of
from fal_server.store.revisions import Revisions
from fal_server.store.runner_records import RunnerRecord, RunnerRecords

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class RevisionPools:
    """Makes the pools of revisions, and attaches to the runners that an earlier server left."""

    launcher: RunnerLauncher
    revisions: Revisions
    records: RunnerRecords
    payloads: Payloads
    _tasks: Tasks = attrs.field(factory=Tasks)

    async def spec_of(self, revision_id: str, account_id: str, alias: str) -> RunnerSpec:
        """
        Return the spec of a revision for *alias*.

        Raises:
            NotFound: The revision was removed.
        """
        request = await self.revisions.request_of(revision_id)
        host = (await self.revisions.find(account_id, revision_id)).server_host
        spec = await self.payloads.contexts.read(request, account_id)
        owner_name = await self._name_of(account_id)
        return attrs.evolve(
            spec.bare(), application=alias, owner_name=owner_name, server_host=host
        )

    async def _name_of(self, account_id: str) -> str:
        return await self.records.database.read(
            lambda connection: nickname_of(connection, account_id)
        )

    def make_pool(self, revision_id: str, spec: RunnerSpec, scaling: Scaling) -> RunnerPool:
        """Make a pool whose runners serve a revision."""

        def launch(changed: Callable[[Runner], None]) -> Runner:
            runner = self.launcher.launch(
                _with_settings(spec, pool.scaling),
                self._recording_end(changed),
                lifetime="detached",
                serves=True,
                before=self._record,
            )
            self._serve(runner, revision_id)
            return runner

        pool = RunnerPool(scaling, launch)
        return pool

    async def crowding(
        self, present: Sequence[Runner], spec: RunnerSpec, scaling: Scaling
    ) -> str:
        """
        Return why the runners that are *present* leave no room for another of a revision, as
        a sentence. Empty where they do, or where nobody knows.
        """
        another, hosts = _with_settings(spec, scaling), self.launcher.hosts
        return await asyncio.to_thread(hosts.crowding, present, another)

    async def attach(self, record: RunnerRecord, pool: RunnerPool | None) -> None:
        """
        Attach to a runner that an earlier server launched.

        Arguments:
            pool: The pool to which it belongs. None drains the runner.
        """
        if record.machine not in ("", name_machine()):
            logger.warning(
                "Runner %s of %s is on another machine, which this one cannot reach: it is "
                "replaced, and ended by a replica there.",
                record.id,
                record.alias,
            )
            return
        spec = await self._spec_of_record(record)
        home = pool or RunnerPool(Scaling(), _refuse_launch)
        try:
            runner = self.launcher.attach(
                record.id,
                spec,
                record.token,
                record.reference,
                record.started_at,
                self._recording_end(home.changed),
                known_until=await self.launcher.logs.last_time(record.id),
                machine=record.host,
            )
        except FalCoreError:
            await self.records.end(record.id)
            return
        self.payloads.admit(runner)
        home.adopt(runner)
        if pool is None:
            runner.revision = record.revision
            self._tasks.spawn(_drain_once_listening(runner))
        else:
            # The earlier server may have ended before it told the runner what to serve.
            self._serve(runner, record.revision)

    async def close(self) -> None:
        """Stop managing runners. They keep running."""
        await self._tasks.close()

    async def _record(self, runner: Runner) -> None:
        spec = runner.spec
        leads = (spec.owner, spec.application, runner.revision)
        is_public = await self.revisions.is_public(*leads)
        host = self.launcher.hosts.find(runner.way.name) or self.launcher.hosts.first
        host.seclusion.check(spec, is_public=is_public)
        record = RunnerRecord(
            id=runner.id,
            account_id=runner.spec.owner,
            alias=runner.spec.application,
            revision=runner.revision,
            token=runner.token,
            reference=f"runner-{runner.id}",
            machine_type=runner.spec.machine_type,
            started_at=runner.started_at,
            host=runner.way.name,
            machine="" if runner.way.is_elsewhere else name_machine(),
        )
        await self.records.add(record)

    def _serve(self, runner: Runner, revision_id: str) -> None:
        async def load() -> Message:
            request = await self.revisions.request_of(revision_id)
            return await self.payloads.make(request, runner.spec, runner)

        runner.revision = revision_id
        serve(runner, load)

    def _recording_end(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        """Return a callback that records the end of a runner, and then calls *changed*."""

        def record_end(runner: Runner) -> None:
            if not runner.is_alive:
                ended_at = runner.ended_at
                self._tasks.spawn(insist(lambda: self.records.end(runner.id, ended_at)))
            changed(runner)

        return self.payloads.tidying(record_end)

    async def _spec_of_record(self, record: RunnerRecord) -> RunnerSpec:
        try:
            return await self.spec_of(record.revision, record.account_id, record.alias)
        except STATE_TROUBLE:
            raise
        except Exception:
            # Its revision was removed, or a plugin that it needs. It is only drained.
            return RunnerSpec(
                name=record.alias,
                owner=record.account_id,
                owner_name=await self._name_of(record.account_id),
                environment=CurrentEnvironment(),
                machine_type=record.machine_type,
                application=record.alias,
            )


def make_closed_pool() -> RunnerPool:
    """Make a pool that accepts no requests and starts no runners."""
    return RunnerPool(Scaling(), _refuse_launch, closed=True)


def _with_settings(spec: RunnerSpec, scaling: Scaling) -> RunnerSpec:
    """Return *spec* with the settings that its application has at present."""
    limited = attrs.evolve(spec, startup_timeout=scaling.startup_timeout)
    return limited.on(*scaling.machine_types)


async def _drain_once_listening(runner: Runner) -> None:
    # Do not wait until it serves: nothing would tell it what to serve.
    with contextlib.suppress(RunnerLost):
        await runner.wait_for_control()
        runner.drain()


def _refuse_launch(changed: Callable[[Runner], None]) -> Runner:
    raise RuntimeError("This pool starts no runners.")
