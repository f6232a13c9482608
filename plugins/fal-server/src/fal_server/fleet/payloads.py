"""
Payloads: the messages that have agents run functions, with secrets and files, and the folders
that runners see.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import attrs
from isolate_proto import HostedRun

from fal_server.access.runner_keys import CALLED, DEPLOYED, RunnerKeys
from fal_server.fleet.runners import Runner
from fal_server.listeners.urls import Urls
from fal_server.settings import API_NAMES
from fal_server.specs.runner_specs import Message, RunnerSpec
from fal_server.state.file_stores import translated
from fal_server.store.build_contexts import BuildContexts
from fal_server.store.uploads import AppFiles
from fal_server.store.vaults import Vault
from fal_server_agent.carried import pack_folder

#: Where applications expect the data of their account, and their files.
DATA, FILES = "/data", "/app"

#: Variables that name files of this machine.
_PATHS = ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "FAL_CORE_DATA")

#: The file of certificate authorities, among the sockets of a runner.
_BUNDLE = "bundle.pem"


@attrs.frozen
class RunnerFolders:
    """
    Makes what runners see of this machine where their environment has a file system of its own.

    Attributes:
        data: The parent of the accounts' directories, which outlive runners.

        bundle: The certificate authorities that runners trust, with that of this server.

        make_sockets: Returns the parent of the runners' directories of sockets.

        ports: The ports of the listeners of this server.
    """

    data: Path
    bundle: Path
    make_sockets: Callable[[], Path]
    ports: Mapping[str, int]

    @property
    def reached_ports(self) -> tuple[int, ...]:
        """
        The ports of this machine that a runner reaches at its own loopback address: those
        that clients of this server use.
        """
        return tuple(port for name, port in self.ports.items() if name != "metrics")

    def data_of(self, spec: RunnerSpec) -> Path:
        """Return the directory of the account of *spec* on this machine."""
        return self.data / quote(spec.owner, safe="")

    def bundle_of(self, spec: RunnerSpec, runner_id: str) -> str:
        """Return where a runner finds the certificate authorities."""
        if not spec.environment.isolates_files:
            return str(self.bundle)
        return str(self.make_sockets() / runner_id / _BUNDLE)

    def make(self, spec: RunnerSpec, sockets: str) -> Mapping[str, str] | None:
        """
        Make the folders that a runner sees, and return them, each with where it sees it. None
        for one that sees all of this machine.

        Arguments:
            sockets: The directory of its sockets.
        """
        if not spec.environment.isolates_files:
            return None
        home = self.data_of(spec)
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        if not sockets:
            return {str(home): DATA}
        # It cannot see the server's own, beside which the key of the authority lies.
        shutil.copyfile(self.bundle, os.path.join(sockets, _BUNDLE))
        return {sockets: sockets, str(home): DATA}


@attrs.define(eq=False)
class Payloads:
    """
    Makes the messages for agents, and the directories that go with them.

    Attributes:
        folder: The parent of the runners' directories for their files.

        seen: What runners see of this machine.

        keys: The keys with which runners authenticate to this server.

        contexts: The directories that images are built of.

        leads: Whether runners reach this server at the hosts that released clients have in
            their code.
    """

    vault: Vault
    files: AppFiles
    urls: Urls
    folder: Path
    seen: RunnerFolders
    keys: RunnerKeys
    contexts: BuildContexts
    leads: bool = False

    async def make(self, request: Any, spec: RunnerSpec, runner: Runner) -> Message:
        """
        Return the message for the agent of *runner*, after its files are in place.

        Arguments:
            request: The run or the registration that *spec* was read from.

        Raises:
            NotFound: A secret is not set, or a file was not uploaded.
        """
        names = None if spec.secrets is None else list(spec.secrets)
        # One may have been removed since the environment was built.
        await self.vault.check(spec.owner, spec.stage, names)
        secrets = await self.vault.values(spec.owner, spec.stage, names)
        full = attrs.evolve(
            spec,
            variables={
                **spec.variables,
                **self._variables(spec, runner.id),
                **self._credentials(request, spec, runner),
                **secrets,
            },
            definition=request.function.definition,
            setup_definition=request.setup_func.definition,
        )
        header, parts = full.message
        if self.leads:
            header["led"] = self._led(spec, runner.id)
        if runner.way.is_elsewhere:
            return await self._carry(spec, header, parts)
        if spec.environment.isolates_files:
            # It was started with what it sees; its image was built of the files of its client.
            header |= {"home": "", "mounts": {}, "directories": list(spec.mounts)}
            return header, parts
        home = self.seen.data_of(spec)
        header["home"] = str(home)
        mounts = {DATA: home}
        if spec.files:
            mounts[FILES] = await self._place(spec, runner)
            header["directory"] = str(mounts[FILES])
        header["mounts"] = {path: str(each) for path, each in mounts.items()}
        header["directories"] = [
            str(home.joinpath(*PurePosixPath(mount).parts[2:]))
            for mount in (DATA, *spec.mounts)
        ]
        return header, parts

    async def _carry(
        self, spec: RunnerSpec, header: dict[str, Any], parts: list[bytes]
    ) -> Message:
        """Return the message for an agent on another machine, with what it finds here otherwise."""
        is_apart = spec.environment.isolates_files
        # These name files of this machine.
        for name in _PATHS:
            header["variables"].pop(name, None)
        header |= {
            "home": "",
            "mounts": {},
            "directories": list(spec.mounts) if is_apart else [],
        }
        bundle = await asyncio.to_thread(self.seen.bundle.read_text)
        files = b"" if is_apart else await self._pack(spec)
        header["carried"] = {
            "bundle": bundle,
            "account": quote(spec.owner, safe=""),
            "mounts": [] if is_apart else list(spec.mounts),
            "files": len(parts) if files else None,
            "is_apart": is_apart,
        }
        return header, [*parts, files] if files else parts

    async def _pack(self, spec: RunnerSpec) -> bytes:
        """Return an archive of the files of a runner; nothing where it has none."""
        if not spec.files:
            return b""
        with translated(), tempfile.TemporaryDirectory(dir=self._make_folder()) as made:
            await self.files.place(spec.owner, spec.files, Path(made))
            return await asyncio.to_thread(pack_folder, Path(made))

    def _make_folder(self) -> Path:
        self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        return self.folder

    async def _place(self, spec: RunnerSpec, runner: Runner) -> Path:
        """Copy the files of a runner into a directory of its own, once."""
        folder = self.folder / runner.id
        if not folder.is_dir():
            with translated():
                folder.mkdir(parents=True, mode=0o700)
            try:
                await self.files.place(spec.owner, spec.files, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder

    def drop_left(self, known: Collection[str]) -> None:
        """
        Remove the leftovers of a server that was killed: the files of all runners but
        those whose ids are *known*.
        """
        if self.folder.is_dir():
            for folder in self.folder.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)

    def tidying(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        """
        Return a callback that removes the files and revokes the key of a runner that has
        ended, and then calls *changed*.
        """

        def tidy(runner: Runner) -> None:
            folder = self.folder / runner.id
            if not runner.is_alive:
                self.keys.revoke(runner.id)
                if folder.is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
            changed(runner)

        return tidy

    def admit(self, runner: Runner) -> None:
        """Accept the key of a runner that was found again."""
        self.keys.issue(runner.id, runner.spec.owner, server_host=runner.spec.server_host)

    def _variables(self, spec: RunnerSpec, runner_id: str) -> Mapping[str, str]:
        """Return the environment variables of a runner, without its credentials."""
        host, bundle = self.urls.address("api"), self.seen.bundle_of(spec, runner_id)
        is_apart = spec.environment.isolates_files
        return {
            "IS_ISOLATE_AGENT": "1",
            # For links. What is called is called at addresses that surely lead here.
            "FAL_HOST": self.urls.named_by(spec.server_host),
            # The 'fal' package takes the host from this variable alone when it is imported.
            "FAL_GRPC_HOST": host,
            "FAL_REST_HOST": host,
            "FAL_RUN_HOST": self.urls.address("run"),
            "FAL_QUEUE_RUN_HOST": self.urls.address("queue"),
            "FAL_WS_RUN_HOST": self.urls.address("ws"),
            # The toolkit and the clients speak to these hosts over TLS only.
            "SSL_CERT_FILE": bundle,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": bundle,
            "FAL_APP_NAME": spec.application,
            "FAL_CORE_DATA": DATA if is_apart else str(self.seen.data_of(spec)),
        }

    def _led(self, spec: RunnerSpec, runner_id: str) -> dict[str, Any]:
        """Return which hosts lead to this server, where that is, and whom it is to be trusted by."""
        host, _, port = self.urls.address("api").rpartition(":")
        return {
            "names": list(API_NAMES),
            "server": [host.strip("[]"), int(port)],
            "bundle": self.seen.bundle_of(spec, runner_id),
        }

    def _credentials(self, request: Any, spec: RunnerSpec, runner: Runner) -> Mapping[str, str]:
        """Return the variables with the key of *runner*. Empty if it has ended."""
        if not runner.is_alive:
            return {}
        permissions = CALLED if isinstance(request, HostedRun) else DEPLOYED
        key = self.keys.issue(runner.id, spec.owner, permissions, server_host=spec.server_host)
        # The id and the secret together override the operator's file in the home directory.
        return {"FAL_KEY": key.text, "FAL_KEY_ID": key.id, "FAL_KEY_SECRET": key.secret}
