"""Grounds: what a server has, whether it decides or not."""

from __future__ import annotations

import attrs

from fal_server.access.identities import CallerIdentity
from fal_server.access.server_keys import ServerKeys
from fal_server.listeners.urls import Urls
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database
from fal_server.state.file_stores import FileStore
from fal_server.store.blobs import Blobs
from fal_server.store.stages import Stages
from fal_server.store.uploads import AppFiles, StoredFiles
from fal_server.store.vaults import Vault
from fal_server.telemetry.exports import Exports
from fal_server.telemetry.server_metrics import ServerMetrics


@attrs.define(eq=False, kw_only=True)
class Ground:
    """
    What a server has, whether it decides or not: its state, its keys and its ports.

    Attributes:
        directory: The data directory, which the caller has locked.

        store: What is too large for the database.

        files: The files of applications.

        ports: The port of each listener, once it is open.

        exports: What sends telemetry. None where nobody wants it.
    """

    settings: ServerSettings
    directory: DataDirectory
    keys: ServerKeys
    metrics: ServerMetrics
    database: Database
    identity: CallerIdentity
    stages: Stages
    vault: Vault
    store: FileStore
    blobs: Blobs
    files: AppFiles
    stored_files: StoredFiles
    ports: dict[str, int] = attrs.field(factory=dict)
    exports: Exports | None = None

    @property
    def urls(self) -> Urls:
        """The addresses of its listeners."""
        settings = self.settings
        name = next(iter(settings.names), "")
        host, public = settings.host, settings.public
        return Urls(host=host, ports=self.ports, public=public, name=name)
