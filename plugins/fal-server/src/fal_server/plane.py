"""The control plane: how its parts are put together, started and closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import sqlalchemy as sa

from fal_core.machines import list_machines
from fal_server.access.dev_keys import make_dev_key
from fal_server.access.identities import CallerIdentity
from fal_server.access.owners import begin_state
from fal_server.access.runner_keys import RunnerKeys, derive_secret
from fal_server.access.server_keys import ServerKeys
from fal_server.access.tokens import Tokens
from fal_server.errors import Refusal, ServerError
from fal_server.fleet.launching import RunnerLauncher
from fal_server.listeners.doors import Doors, Service
from fal_server.listeners.drains import Drain
from fal_server.logs.logs import Logs
from fal_server.queue.request_queues import RequestQueue
from fal_server.replicas.deciders import Decider
from fal_server.replicas.grounds import Ground
from fal_server.replicas.roles import Roles
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.deployments import Deployments
from fal_server.routing.function_pools import FunctionPools
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database
from fal_server.state.opened_stores import open_files
from fal_server.store.accounts import list_accounts
from fal_server.store.blobs import Blobs
from fal_server.store.keys import NewKey
from fal_server.store.stages import Stages
from fal_server.store.uploads import AppFiles, StoredFiles
from fal_server.store.vaults import remove_secrets
from fal_server.telemetry.exports import Exports
from fal_server.telemetry.server_metrics import ServerMetrics


@attrs.define(eq=False, kw_only=True)
class ControlPlane(Ground):
    """
    A control plane: one process with one data directory, alone on its state or one of several
    replicas.

    It is made by :meth:`create`, in the event loop in which it is started and closed.

    Attributes:
        first_key: The key of the first user, if this start has created it. Otherwise None.

        decider: What runs the applications. None where another replica has it.
    """

    first_key: NewKey | None = None
    decider: Decider | None = None
    doors: Doors = attrs.field(init=False)
    _ends: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)

    @classmethod
    def create(cls, settings: ServerSettings) -> ControlPlane:
        """
        Open the database of a data directory, which the caller has locked.

        Raises:
            ServerError: The state or a key is lost, or cannot be used.

            OptionError: Where machine types are declared, something is wrong.
        """
        # It is told now, and not at the first request that names one.
        list_machines()
        directory = DataDirectory(settings.data)
        if settings.database is None:
            directory.claim_state()
        database, metrics = Database(settings.database_url), ServerMetrics()
        try:
            database.observe = metrics.observe_write
            keys = ServerKeys(database, directory, settings.secrets_key)
            key = begin_state(database, directory, keys, settings.owner)
            keys.check()
            keys.share_authority()
            account = database.read_here(_first_account) if settings.dev else None
            stages = Stages(database)
            stages.removals.append(remove_secrets)
            vault = keys.open_vault()
            stages.removed.append(vault.clear_cache)
            store = open_files(settings.files, directory.path)
            blobs, signing_key = Blobs(store.below("blobs")), keys.read("signing.key")
            identity = CallerIdentity(
                database, Tokens(signing_key), RunnerKeys(derive_secret(signing_key))
            )
            identity.dev_key = None if account is None else make_dev_key(account)
            return cls(
                settings=settings,
                directory=directory,
                keys=keys,
                metrics=metrics,
                database=database,
                identity=identity,
                stages=stages,
                vault=vault,
                store=store,
                blobs=blobs,
                files=AppFiles(database, blobs),
                stored_files=StoredFiles(database, blobs),
                first_key=key,
            )
        except BaseException as error:
            database.close()
            if isinstance(error, Refusal):
                raise ServerError(str(error)) from error
            raise

    async def start(self) -> None:
        """
        Open all ports, and continue what an earlier server has left, unless another replica
        does.

        Connections wait until the state has been read: nobody is told that an application
        or a request does not exist that the server does not know of yet.

        Raises:
            ServerError: A port is taken, the address is not one of this machine, or the
                database cannot be read.
        """
        self._ends.callback(self.directory.drop_sockets, if_empty=True)
        self._ends.callback(self.database.close)
        self._ends.push_async_callback(self.identity.lookups.close)
        try:
            self.doors = Doors.create(self.settings, self.directory, self.ports, self._ends)
            if self.database.is_shared:
                await self._start_among_others()
            else:
                await self._start_alone()
            shared = self.settings.database if self.database.is_shared else None
            self.directory.write_addresses(self.ports, self.settings.host, shared)
        except Refusal as refusal:
            await self.close()
            raise ServerError(str(refusal)) from refusal
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all ports, give requests time to finish, and close the database."""
        await self._ends.aclose()

    async def _start_alone(self) -> None:
        decider = self.decider = Decider(self, self.doors)
        self._ends.push_async_callback(decider.close)
        await self._listen(await decider.serve())
        await decider.start()
        self.doors.open()
        decider.keep_house()

    async def _start_among_others(self) -> None:
        def decides(decider: Decider | None) -> None:
            self.decider = decider

        roles = Roles(self, self.doors, decides)
        self._ends.push_async_callback(roles.close)
        await self._listen(await roles.serve())
        await roles.start()
        self.doors.open()

    async def _listen(self, services: Mapping[str, Service]) -> None:
        """Listen at all ports."""
        for name, service in services.items():
            self.doors.listen(name, service)
        asks = self.settings.asks_for_metrics_key
        key = self.keys.read_metrics_key() if asks else None
        application = self.metrics.make_application(key)
        drain = Drain(self.settings.drain)
        metrics = await self.doors.start_http(application, self._ends, drain)
        self.doors.listen("metrics", Service(metrics))

    # -- what decides ----------------------------------------------------------------------

    @property
    def launcher(self) -> RunnerLauncher:
        """Launches runners."""
        return self._deciding.launcher

    @property
    def catalog(self) -> ApplicationCatalog:
        """The applications."""
        return self._deciding.catalog

    @property
    def deployments(self) -> Deployments:
        """Deploys revisions."""
        return self._deciding.deployments

    @property
    def functions(self) -> FunctionPools:
        """The runners of functions."""
        return self._deciding.functions

    @property
    def queue(self) -> RequestQueue:
        """The queued requests."""
        return self._deciding.queue

    @property
    def logs(self) -> Logs:
        """The lines of runners."""
        return self._deciding.logs

    @property
    def _deciding(self) -> Decider:
        assert self.decider is not None, "Another replica decides."
        return self.decider


def _first_account(connection: sa.Connection) -> str:
    return list_accounts(connection)[0].id


def describe_ports(ports: Mapping[str, int]) -> str:
    """Return one line with the names and numbers of *ports*."""
    return ", ".join(f"{name} {port}" for name, port in ports.items())


async def serve(
    settings: ServerSettings,
    stop: asyncio.Event,
    started: Callable[[ControlPlane], Any],
    exports: Exports | None = None,
) -> None:
    """
    Run a control plane until *stop* is set. *started* is called with it once it runs.

    Arguments:
        exports: What sends telemetry. None where nobody wants it.
    """
    plane = ControlPlane.create(settings)
    plane.exports = exports
    await plane.start()
    try:
        started(plane)
        await stop.wait()
    finally:
        await plane.close()
