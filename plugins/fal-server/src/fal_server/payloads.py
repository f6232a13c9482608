"""
Payloads: what a runner's agent is told to run, with secrets and files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from fal_server.runners import Runner
from fal_server.specs import Message, RunnerSpec
from fal_server.uploads import AppFiles
from fal_server.urls import Urls
from fal_server.vaults import Vault


@attrs.define(eq=False)
class Payloads:
    """
    Puts together what agents are told, and the files that go with it.

    Attributes:
        folder: Where each runner has a directory for its files.
    """

    vault: Vault
    files: AppFiles
    urls: Urls
    folder: Path

    async def make(self, request: Any, spec: RunnerSpec, runner: Runner) -> Message:
        """
        Return what the agent of *runner* is told, once its files are in place.

        Arguments:
            request: The run or the registration that *spec* was read from.
        """
        environment = request.environment_name or "main"
        names = list(request.secrets.names) if request.HasField("secrets") else None
        secrets = await self.vault.values(spec.owner, environment, names)
        full = attrs.evolve(
            spec,
            variables=self._variables(spec, secrets),
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

    def tidying(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        """
        Return what removes the files of a runner that has ended before *changed* acts
        on it.
        """

        def tidy(runner: Runner) -> None:
            folder = self.folder / runner.id
            if not runner.is_alive and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
            changed(runner)

        return tidy

    def _variables(self, spec: RunnerSpec, secrets: Mapping[str, str]) -> Mapping[str, str]:
        """
        Return what a runner finds in its environment variables.
        """
        host = self.urls.base("api").partition("://")[2]
        own = {"IS_ISOLATE_AGENT": "1", "FAL_HOST": host, "FAL_APP_NAME": spec.application}
        return {**own, **secrets}
