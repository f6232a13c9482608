"""
Applications: what is registered, under which alias, and the runners it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_core.errors import FalCoreError
from fal_server.accounts import find_account
from fal_server.callers import Caller
from fal_server.declarations import whole
from fal_server.errors import NotFound
from fal_server.interfaces import RunnerTimes
from fal_server.launching import Launchpad
from fal_server.pools import Pool
from fal_server.runners import Message, Runner, RunnerSpec
from fal_server.scaling import Scaling
from fal_server.specs import read_spec, variables_of_runner
from fal_server.state import Store, metadata
from fal_server.uploads import AppFiles
from fal_server.urls import Urls
from fal_server.vaults import Vault

logger = logging.getLogger(__name__)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("environment", sa.String, nullable=False),
    #: The registration as it was sent; nobody but a runner opens what is in it.
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("scaling", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("environment", sa.String, nullable=False),
    sa.Column("revision", sa.ForeignKey("revisions.id"), nullable=False),
    sa.Column("auth_mode", sa.Integer, nullable=False),
    sa.Column("scaling", sa.String, nullable=False),
)

runners = sa.Table(
    "runners",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.String, nullable=False, index=True),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("revision", sa.String, nullable=False),
    sa.Column("token", sa.String, nullable=False),
    sa.Column("reference", sa.String, nullable=False),
    sa.Column("machine_type", sa.String, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
)

#: Seconds between two rounds of health checks.
_HEALTH = 5.0


@attrs.define(eq=False)
class Application:
    """
    What an alias stands for at present.

    Attributes:
        revision: The id of the revision; empty for one that lives as long as a run.

        pool: The runners that take requests.

        older: Pools of revisions that are on their way out.

        rolling: Whether the pool of the present revision has still to come up, while an
            older one takes the requests.
    """

    owner: str
    owner_name: str
    alias: str
    auth_mode: int
    pool: Pool
    environment: str = "main"
    revision: str = ""
    ephemeral: bool = False
    scaling: Scaling = attrs.field(factory=Scaling)
    older: list[Pool] = attrs.field(factory=list)
    rolling: asyncio.Task[None] | None = None
    newest: Pool | None = None

    @property
    def runners(self) -> list[Runner]:
        """
        All its runners, those of older revisions included.
        """
        pools = [self.pool, *self.older, *([self.newest] if self.newest else [])]
        found = {runner.id: runner for pool in pools for runner in pool.runners}
        return list(found.values())


@attrs.frozen(kw_only=True)
class Revision:
    """
    What was registered.
    """

    id: str
    account_id: str
    alias: str
    environment: str
    scaling: Scaling
    created_at: float


@attrs.define(eq=False)
class Catalog:
    """
    Knows what is registered, and has its runners.
    """

    store: Store
    vault: Vault
    files: AppFiles
    launchpad: Launchpad
    urls: Urls
    folder: Path
    applications: dict[tuple[str, str], Application] = attrs.field(factory=dict)
    _specs: dict[str, tuple[RunnerSpec, int]] = attrs.field(factory=dict)
    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set)
    _closed: bool = False

    # -- who is asked for ----------------------------------------------------------------

    def find(self, owner_name: str, alias: str) -> Application:
        """
        Return the application that stands in a url.

        Raises:
            NotFound: There is none.
        """
        found = self.applications.get((owner_name, alias))
        if found is None:
            raise NotFound(f"Application {owner_name[:80]}/{alias[:80]} was not found.")
        return found

    def of(self, caller: Caller, alias: str, environment: str = "") -> Application:
        """
        Return an application of *caller*.

        Raises:
            NotFound: There is none.
        """
        found = self.applications.get((caller.nickname, full_alias(alias, environment)))
        if found is None or found.owner != caller.user_id or found.ephemeral:
            raise NotFound(f"Application {alias[:80]!r} was not found.")
        return found

    def list_of(self, account_id: str) -> list[Application]:
        """
        Return the applications of an account, those of runs included.
        """
        return [each for each in self.applications.values() if each.owner == account_id]

    def add_ephemeral(self, application: Application) -> None:
        """
        Let an application be reached that lives as long as a run.
        """
        self.applications[application.owner_name, application.alias] = application

    def remove_ephemeral(self, application: Application) -> None:
        """
        Forget an application whose run has ended.
        """
        self.applications.pop((application.owner_name, application.alias), None)

    async def metadata(self, caller: Caller, owner: str, alias: str) -> Mapping[str, Any]:
        """
        Return what the application was registered with as its metadata.

        Raises:
            NotFound: There is none that *caller* may see.
        """
        application = self.find(owner, alias)
        private = application.auth_mode == wire.PRIVATE
        if private and application.owner != caller.user_id:
            raise NotFound(f"Application {owner[:80]}/{alias[:80]} was not found.")
        if not application.revision:
            return {}
        request = await self.request_of(application.revision)
        found: Mapping[str, Any] = whole(MessageToDict(request.metadata))
        return found

    async def times(self, caller: Caller, runner_id: str) -> RunnerTimes:
        """
        Return when a runner was started and has ended.

        Raises:
            NotFound: There is no such runner of *caller*.
        """
        for application in self.list_of(caller.user_id):
            for runner in application.runners:
                if runner.id == runner_id:
                    return RunnerTimes(started_at=runner.started_at, ended_at=runner.ended_at)
        chosen = (runners.c.id == runner_id) & (runners.c.account_id == caller.user_id)
        row = await self.store.read(
            lambda connection: connection.execute(sa.select(runners).where(chosen)).first()
        )
        if row is None:
            raise NotFound(f"Runner {runner_id[:80]!r} was not found.")
        return RunnerTimes(started_at=row.started_at, ended_at=row.ended_at)

    # -- changes ---------------------------------------------------------------------------

    async def register(
        self,
        caller: Caller,
        request: RegisterApplicationRequest,
        alias: str,
        *,
        rolling: bool,
    ) -> Application:
        """
        Keep a revision, and have its alias stand for it from now on.
        """
        before = self.applications.get((caller.nickname, alias))
        scaling = Scaling().changed(request.machine_requirements)
        if before is not None and not request.scale:
            scaling = before.scaling
        auth_mode = before.auth_mode if before is not None else wire.PRIVATE
        if request.HasField("auth_mode"):
            auth_mode = request.auth_mode
        revision = Revision(
            id=secrets.token_hex(16),
            account_id=caller.user_id,
            alias=alias,
            environment=request.environment_name or "main",
            scaling=scaling,
            created_at=time.time(),
        )
        blob = request.SerializeToString()

        def write(connection: sa.Connection) -> None:
            kept = attrs.asdict(revision, recurse=False)
            kept |= {"scaling": json.dumps(scaling.to_json()), "request": blob}
            connection.execute(revisions.insert().values(kept))
            _write_alias(connection, revision, auth_mode, scaling)

        await self.store.write(write)
        spec = attrs.evolve(
            read_spec(request, caller), definition=b"", setup_definition=b"", application=alias
        )
        self._specs[revision.id] = (spec, 0)
        return self._point(caller.nickname, revision, auth_mode, scaling, rolling=rolling)

    async def set_alias(
        self, caller: Caller, alias: str, revision_id: str, auth_mode: int | None, rolling: bool
    ) -> Application:
        """
        Have *alias* stand for a revision that there is.

        Raises:
            NotFound: There is no such revision.
        """
        before = self.applications.get((caller.nickname, alias))
        revision = await self.revision_of(caller, revision_id)
        scaling = before.scaling if before is not None else revision.scaling
        if auth_mode is None:
            auth_mode = before.auth_mode if before is not None else wire.PRIVATE
        mode = auth_mode
        moved = attrs.evolve(revision, alias=alias)
        await self.store.write(
            lambda connection: _write_alias(connection, moved, mode, scaling)
        )
        return self._point(caller.nickname, moved, mode, scaling, rolling=rolling)

    async def set_scaling(self, application: Application, scaling: Scaling) -> None:
        """
        Change the settings of an application.
        """
        chosen = _is_alias(application.owner, application.alias)
        text = json.dumps(scaling.to_json())
        await self.store.write(
            lambda connection: connection.execute(
                aliases.update().where(chosen).values(scaling=text)
            )
        )
        application.scaling = scaling
        for pool in {application.pool, application.newest or application.pool}:
            pool.set_scaling(scaling)

    async def delete_alias(self, application: Application) -> None:
        """
        Remove an alias; its requests finish.
        """
        chosen = _is_alias(application.owner, application.alias)
        await self.store.write(
            lambda connection: connection.execute(aliases.delete().where(chosen))
        )
        self.applications.pop((application.owner_name, application.alias), None)
        if application.rolling is not None:
            application.rolling.cancel()
        for pool in [application.pool, *([application.newest] if application.newest else [])]:
            pool.close()

    async def delete_revision(self, caller: Caller, revision_id: str) -> None:
        """
        Remove a revision, with the aliases that stand for it.

        Raises:
            NotFound: There is none of *caller*.
        """
        await self.revision_of(caller, revision_id)
        for application in self.list_of(caller.user_id):
            if application.revision == revision_id:
                await self.delete_alias(application)
        await self.store.write(
            lambda connection: connection.execute(
                revisions.delete().where(revisions.c.id == revision_id)
            )
        )
        self._specs.pop(revision_id, None)

    def rollout(self, application: Application, *, force: bool) -> None:
        """
        Replace the runners of an application by new ones.
        """
        revision = Revision(
            id=application.revision,
            account_id=application.owner,
            alias=application.alias,
            environment=application.environment,
            scaling=application.scaling,
            created_at=0.0,
        )
        self._point(
            application.owner_name,
            revision,
            application.auth_mode,
            application.scaling,
            rolling=not force,
        )

    async def list_revisions(
        self, account_id: str, alias: str | None, environment: str | None
    ) -> list[Revision]:
        """
        Return the revisions of an account, the newest first.
        """
        columns = [column for column in revisions.c if column.name != "request"]
        query = sa.select(*columns).where(revisions.c.account_id == account_id)
        if alias:
            query = query.where(revisions.c.alias == full_alias(alias, environment or ""))
        if environment:
            query = query.where(revisions.c.environment == environment)
        query = query.order_by(revisions.c.created_at.desc())
        return await self.store.read(
            lambda connection: [_to_revision(row) for row in connection.execute(query)]
        )

    async def revision_of(self, caller: Caller, revision_id: str) -> Revision:
        """
        Return a revision of *caller*.

        Raises:
            NotFound: There is none.
        """
        for revision in await self.list_revisions(caller.user_id, None, None):
            if revision.id == revision_id:
                return revision
        raise NotFound(f"Revision {revision_id[:80]!r} was not found.")

    async def request_of(self, revision_id: str) -> RegisterApplicationRequest:
        """
        Return what a revision was registered with.
        """
        blob = await self.store.read(
            lambda connection: connection.scalar(
                sa.select(revisions.c.request).where(revisions.c.id == revision_id)
            )
        )
        if blob is None:
            raise NotFound(f"Revision {revision_id[:80]!r} was not found.")
        request = RegisterApplicationRequest()
        request.ParseFromString(blob)
        return request

    # -- runners ---------------------------------------------------------------------------

    async def load(self, request: Any, spec: RunnerSpec, runner: Runner) -> Message:
        """
        Return what the agent of *runner* is told to run, secrets and files included.
        """
        environment = request.environment_name or "main"
        names = list(request.secrets.names) if request.HasField("secrets") else None
        values = await self.vault.values(spec.owner, environment, names)
        variables = variables_of_runner(spec, values, self.urls)
        full = attrs.evolve(
            spec,
            variables=variables,
            definition=request.function.definition,
            setup_definition=request.setup_func.definition,
        )
        header, parts = full.message
        if len(request.files):
            folder = self.folder / runner.id
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            files = [(each.hash, each.relative_path) for each in request.files]
            await self.files.place(spec.owner, files, folder)
            header["directory"] = str(folder)
        return header, parts

    def tidy(self, runner: Runner) -> None:
        """
        Remove what *runner* has left behind.
        """
        folder = self.folder / runner.id
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)

    def make_pool(self, application: Application, scaling: Scaling) -> Pool:
        """
        Make the pool of the present revision of *application*.
        """
        revision_id, owner = application.revision, application.owner
        alias, timeout = application.alias, scaling.startup_timeout

        def launch(changed: Callable[[Runner], None]) -> Runner:
            spec, _ = self._specs[revision_id]
            spec = attrs.evolve(spec, startup_timeout=timeout or spec.startup_timeout)

            async def keep(runner: Runner) -> None:
                await self._keep(runner, revision_id, owner, alias)

            runner = self.launchpad.launch(
                spec, self._noting(changed), lifetime="detached", before=keep
            )
            runner.revision = revision_id
            runner.serve(self._loader(revision_id, runner))
            return runner

        return Pool(scaling, launch)

    def _loader(self, revision_id: str, runner: Runner) -> Callable[[], Awaitable[Message]]:
        async def load() -> Message:
            return await self.load(await self.request_of(revision_id), runner.spec, runner)

        return load

    def _noting(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        """
        Note the end of a runner before *changed* acts on it.
        """

        def note(runner: Runner) -> None:
            if runner.phase == "terminated":
                self.tidy(runner)
                if not self._closed:
                    self._spawn(self._keep_end(runner))
            changed(runner)

        return note

    async def _keep(self, runner: Runner, revision_id: str, owner: str, alias: str) -> None:
        """
        Keep what finds a runner again, before its host has it.
        """
        row = {
            "id": runner.id,
            "account_id": owner,
            "alias": alias,
            "revision": revision_id,
            "token": runner.token,
            "reference": f"runner-{runner.id}",
            "machine_type": runner.spec.machine_type,
            "started_at": runner.started_at,
            "ended_at": None,
        }
        await self.store.write(
            lambda connection: connection.execute(runners.insert().values(row))
        )

    async def _keep_end(self, runner: Runner) -> None:
        chosen = runners.update().where(runners.c.id == runner.id)
        ended = chosen.values(ended_at=runner.ended_at)
        await self.store.write(lambda connection: connection.execute(ended))

    def _point(
        self,
        owner_name: str,
        revision: Revision,
        auth_mode: int,
        scaling: Scaling,
        *,
        rolling: bool,
    ) -> Application:
        """
        Have an alias stand for *revision*, whose runners take over as the strategy says.
        """
        key = (owner_name, revision.alias)
        application = self.applications.get(key)
        if application is None:
            application = Application(
                owner=revision.account_id,
                owner_name=owner_name,
                alias=revision.alias,
                auth_mode=auth_mode,
                pool=Pool(scaling, _never),
                environment=revision.environment,
                revision=revision.id,
                scaling=scaling,
            )
            application.pool = self.make_pool(application, scaling)
            self.applications[key] = application
            application.pool.adjust()
            return application
        if application.rolling is not None:
            application.rolling.cancel()
            application.rolling = None
            if application.newest is not None:
                application.newest.close()
        application.revision, application.auth_mode = revision.id, auth_mode
        application.scaling, application.environment = scaling, revision.environment
        pool = self.make_pool(application, scaling)
        if rolling and application.pool.live:
            application.newest = pool
            application.rolling = self._spawn(self._roll(application, pool))
        else:
            self._switch(application, pool)
        return application

    async def _roll(self, application: Application, pool: Pool) -> None:
        """
        Start a runner of the new revision, and switch to it once it is ready.
        """
        pause = 0.5
        while True:
            runner = pool.start_one()
            ready = asyncio.ensure_future(runner.ready.wait())
            try:
                await ready
            finally:
                ready.cancel()
            if runner.phase == "running":
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, 30.0)
        application.rolling = application.newest = None
        self._switch(application, pool)

    def _switch(self, application: Application, pool: Pool) -> None:
        """
        Let *pool* take the requests, those that wait included.
        """
        old, application.pool = application.pool, pool
        old.move_waiting(pool)
        old.close()
        application.older.append(old)
        pool.adjust()
        self._spawn(self._forget(application, old))

    async def _forget(self, application: Application, old: Pool) -> None:
        await old.empty.wait()
        application.older.remove(old)

    # -- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Have all that was registered before, and find its runners again.
        """

        def read(connection: sa.Connection) -> list[Any]:
            rows = connection.execute(sa.select(aliases))
            return [(row, find_account(connection, id=row.account_id)) for row in rows]

        for row, account in await self.store.read(read):
            assert account is not None
            await self._restore(row, account.nickname)
        await self._find_runners()
        for application in self.applications.values():
            application.pool.adjust()
        self._spawn(self._check_health())

    async def _restore(self, row: Any, owner_name: str) -> None:
        scaling = Scaling.from_json(json.loads(row.scaling))
        request = await self.request_of(row.revision)
        caller = Caller(user_id=row.account_id, nickname=owner_name, permissions=frozenset())
        application = Application(
            owner=row.account_id,
            owner_name=owner_name,
            alias=row.alias,
            auth_mode=row.auth_mode,
            pool=Pool(scaling, _never),
            environment=row.environment,
            revision=row.revision,
            scaling=scaling,
        )
        spec = read_spec(request, caller)
        bare = {"definition": b"", "setup_definition": b"", "application": row.alias}
        self._specs[row.revision] = (attrs.evolve(spec, **bare), 0)
        application.pool = self.make_pool(application, scaling)
        self.applications[owner_name, row.alias] = application

    async def _find_runners(self) -> None:
        """
        Attach to the runners of before; those of other revisions are drained.
        """
        chosen = sa.select(runners).where(runners.c.ended_at.is_(None))
        rows = await self.store.read(lambda connection: connection.execute(chosen).all())
        by_alias = {(each.owner, each.alias): each for each in self.applications.values()}
        for row in rows:
            application = by_alias.get((row.account_id, row.alias))
            spec = self._specs.get(row.revision)
            pool = Pool(Scaling(), _never) if application is None else application.pool
            current = application is not None and application.revision == row.revision
            if not current:
                pool = Pool(Scaling(), _never)
            try:
                runner = self.launchpad.attach(
                    row.id,
                    spec[0] if spec else _UNKNOWN.of(row),
                    row.token,
                    row.reference,
                    row.started_at,
                    self._noting(pool.changed),
                )
            except FalCoreError:
                await self._gone(row.id)
                continue
            runner.revision = row.revision
            pool.adopt(runner)
            if current:
                # It may have been launched, and not told what to serve.
                runner.serve(self._loader(row.revision, runner))
            else:
                self._spawn(_drain_when_found(runner))

    async def _gone(self, runner_id: str) -> None:
        ended = runners.update().where(runners.c.id == runner_id)
        values = ended.values(ended_at=time.time())
        await self.store.write(lambda connection: connection.execute(values))

    async def _check_health(self) -> None:
        """
        Replace runners that have failed their health checks too often.
        """
        while True:
            await asyncio.sleep(_HEALTH)
            checks = [
                self._check(application, runner, runner.spec.health_check)
                for application in list(self.applications.values())
                for runner in application.pool.runners
                if runner.spec.health_check is not None and runner.phase == "running"
            ]
            await asyncio.gather(*checks, return_exceptions=True)

    async def _check(
        self, application: Application, runner: Runner, check: Mapping[str, Any]
    ) -> None:
        if not check.get("call_regularly", True):
            return
        if runner.in_flight and not check.get("allow_on_busy", False):
            return
        if await runner.is_healthy(check):
            runner.unhealthy = 0
            return
        age = time.monotonic() - (runner.running_since or 0.0)
        if age < float(check.get("start_period_seconds") or 0):
            return
        runner.unhealthy += 1
        if runner.unhealthy >= int(check.get("failure_threshold") or 3):
            runner.reason = "It no longer answered its health check."
            runner.sick = True
            runner.kill()
            application.pool.adjust()

    async def close(self) -> None:
        """
        Let go of all; detached runners go on.
        """
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for application in self.applications.values():
            application.pool.let_go()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("What was done in the background failed", exc_info=task.exception())


class _Unknown:
    """
    The spec of a runner whose revision is gone.
    """

    def of(self, row: Any) -> RunnerSpec:
        from fal_core.environments import CurrentEnvironment

        return RunnerSpec(
            name=row.alias, owner=row.account_id, environment=CurrentEnvironment()
        )


_UNKNOWN = _Unknown()


async def _drain_when_found(runner: Runner) -> None:
    with contextlib.suppress(Exception):
        await runner.ready.wait()
    runner.drain()


def _never(changed: Callable[[Runner], None]) -> Runner:
    raise RuntimeError("This pool starts no runners.")


def full_alias(name: str, environment: str) -> str:
    """
    Return the alias of the application *name* in *environment*.
    """
    if not environment or environment == "main" or name.endswith(f"--{environment}"):
        return name
    return f"{name}--{environment}"


def _write_alias(
    connection: sa.Connection, revision: Revision, auth_mode: int, scaling: Scaling
) -> None:
    chosen = _is_alias(revision.account_id, revision.alias)
    connection.execute(aliases.delete().where(chosen))
    connection.execute(
        aliases.insert().values(
            account_id=revision.account_id,
            alias=revision.alias,
            environment=revision.environment,
            revision=revision.id,
            auth_mode=auth_mode,
            scaling=json.dumps(scaling.to_json()),
        )
    )


def _is_alias(account_id: str, alias: str) -> sa.ColumnElement[bool]:
    return (aliases.c.account_id == account_id) & (aliases.c.alias == alias)


def _to_revision(row: Any) -> Revision:
    scaling = Scaling.from_json(json.loads(row.scaling))
    return Revision(**{**row._mapping, "scaling": scaling})


def lines_of(owner: str, alias: str) -> str:
    """
    Return what the echo of the lines of an application is called.
    """
    return f"{owner}\0{alias}"
