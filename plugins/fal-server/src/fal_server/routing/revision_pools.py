"""
Fleets: the runners of applications, which outlive the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import attrs

from fal_core.environments import CurrentEnvironment
from fal_core.errors import FalCoreError
from fal_server.errors import STATE_TROUBLE
from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.payloads import Payloads
from fal_server.fleet.runners import Runner
from fal_server.fleet.serving import serve
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.runner_specs import Message, RunnerSpec, read_spec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks, insist
from fal_server.store.revisions import Revisions
from fal_server.store.runner_records import RunnerRecord, RunnerRecords


@attrs.define(eq=False)
class RevisionPools:
    """
    Makes the pools of revisions, and finds the runners of before again.
    """

    launcher: RunnerLauncher
    revisions: Revisions
    records: RunnerRecords
    payloads: Payloads
    _tasks: Tasks = attrs.field(factory=Tasks)

    async def spec_of(self, revision_id: str, account_id: str, alias: str) -> RunnerSpec:
        """
        Return what the runners of a revision run for *alias*.

        Raises:
            NotFound: The revision is gone.
        """
        request = await self.revisions.request_of(revision_id)
        return attrs.evolve(read_spec(request, account_id).bare(), application=alias)

    def make_pool(self, revision_id: str, spec: RunnerSpec, scaling: Scaling) -> RunnerPool:
        """
        Make a pool whose runners run a revision.
        """

        def launch(changed: Callable[[Runner], None]) -> Runner:
            runner = self.launcher.launch(
                _with_settings(spec, pool.scaling),
                self._noting(changed),
                lifetime="detached",
                before=self._keep,
            )
            self._serve(runner, revision_id)
            return runner

        pool = RunnerPool(scaling, launch)
        return pool

    async def attach(self, record: RunnerRecord, pool: RunnerPool | None) -> None:
        """
        Find a runner again: for *pool*, or to be drained where there is none.
        """
        spec = await self._spec_of_record(record)
        home = pool or RunnerPool(Scaling(), _never)
        try:
            runner = self.launcher.attach(
                record.id,
                spec,
                record.token,
                record.reference,
                record.started_at,
                self._noting(home.changed),
                known_until=await self.launcher.logs.last_time(record.id),
            )
        except FalCoreError:
            await self.records.end(record.id)
            return
        self.payloads.admit(runner)
        home.adopt(runner)
        if pool is None:
            runner.revision = record.revision
            self._tasks.spawn(_drain_when_found(runner))
        else:
            # It may have been launched, and not told what to serve.
            self._serve(runner, record.revision)

    async def close(self) -> None:
        """
        Let go of all; the runners go on.
        """
        await self._tasks.close()

    async def _keep(self, runner: Runner) -> None:
        record = RunnerRecord(
            id=runner.id,
            account_id=runner.spec.owner,
            alias=runner.spec.application,
            revision=runner.revision,
            token=runner.token,
            reference=f"runner-{runner.id}",
            machine_type=runner.spec.machine_type,
            started_at=runner.started_at,
        )
        await self.records.add(record)

    def _serve(self, runner: Runner, revision_id: str) -> None:
        async def load() -> Message:
            request = await self.revisions.request_of(revision_id)
            return await self.payloads.make(request, runner.spec, runner)

        runner.revision = revision_id
        serve(runner, load)

    def _noting(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        """
        Note the end of a runner before *changed* acts on it.
        """

        def note(runner: Runner) -> None:
            if not runner.is_alive:
                ended_at = runner.ended_at
                self._tasks.spawn(insist(lambda: self.records.end(runner.id, ended_at)))
            changed(runner)

        return self.payloads.tidying(note)

    async def _spec_of_record(self, record: RunnerRecord) -> RunnerSpec:
        try:
            return await self.spec_of(record.revision, record.account_id, record.alias)
        except STATE_TROUBLE:
            raise
        except Exception:
            # Its revision was removed, or the plugin that it needs; it is only drained.
            return RunnerSpec(
                name=record.alias,
                owner=record.account_id,
                environment=CurrentEnvironment(),
                machine_type=record.machine_type,
                application=record.alias,
            )


def make_closed_pool() -> RunnerPool:
    """
    Make a pool that takes no requests and starts no runners.
    """
    return RunnerPool(Scaling(), _never, closed=True)


def _with_settings(spec: RunnerSpec, scaling: Scaling) -> RunnerSpec:
    """
    Return *spec* with what an application was set to since.
    """
    return attrs.evolve(
        spec,
        startup_timeout=scaling.startup_timeout or spec.startup_timeout,
        machine_type=next(iter(scaling.machine_types), spec.machine_type),
    )


async def _drain_when_found(runner: Runner) -> None:
    # It is drained whether it serves yet or not; nobody will tell it what.
    with contextlib.suppress(RunnerLost):
        await runner.wait_for_control()
        runner.drain()


def _never(changed: Callable[[Runner], None]) -> Runner:
    raise RuntimeError("This pool starts no runners.")
