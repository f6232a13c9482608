"""
The client for code that runs in an event loop: the same questions, awaited.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from fal_host_serverless import channels, operations
from fal_host_serverless.connections import Connection
from fal_host_serverless.deploy import DeploymentResult
from fal_host_serverless.failures import translated
from fal_host_serverless.operations import Operation, ValueT
from fal_host_serverless.values import (
    AliasInfo,
    EnvironmentInfo,
    KeyPreset,
    KeyScope,
    RunnerInfo,
    ServerlessSecret,
    UserKeyInfo,
)


class AsyncApps:
    """
    Applications.
    """

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def list(
        self, *, filter: str | None = None, environment_name: str | None = None
    ) -> builtins.list[AliasInfo]:
        """
        List the applications whose name has *filter* in it.
        """
        return await self.client.perform(operations.list_apps(filter, environment_name))

    async def rollout(
        self, app_name: str, *, force: bool = False, environment_name: str | None = None
    ) -> None:
        """
        Replace the runners of an application by new ones.
        """
        await self.client.perform(operations.rollout(app_name, force, environment_name))

    async def runners(
        self,
        app_name: str,
        *,
        since: datetime | None = None,
        state: Sequence[str] | None = None,
        environment_name: str | None = None,
    ) -> builtins.list[RunnerInfo]:
        """
        List the runners of an application.
        """
        question = operations.app_runners(app_name, since, state, environment_name)
        return await self.client.perform(question)

    async def scale(
        self,
        app_name: str,
        *,
        keep_alive: int | None = None,
        max_multiplexing: int | None = None,
        max_concurrency: int | None = None,
        min_concurrency: int | None = None,
        concurrency_buffer: int | None = None,
        concurrency_buffer_perc: int | None = None,
        scaling_delay: int | None = None,
        request_timeout: int | None = None,
        startup_timeout: int | None = None,
        machine_types: Sequence[str] | None = None,
        regions: Sequence[str] | None = None,
        environment_name: str | None = None,
        request_start_timeout: int | None = None,
    ) -> AliasInfo:
        """
        Change how an application scales, as :func:`apps.scale_app` does.
        """
        changes = {name: value for name, value in locals().items() if name != "self"}
        return await self.client.perform(
            operations.scale(
                changes.pop("app_name"), changes.pop("environment_name"), **changes
            )
        )


class AsyncRunners:
    """
    Runners.
    """

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def list(self, *, since: datetime | None = None) -> builtins.list[RunnerInfo]:
        """
        List the runners of all applications.
        """
        return await self.client.perform(operations.list_runners(since))

    async def stop(self, runner_id: str, replace_first: bool = False) -> None:
        """
        Have a runner end once it has finished its requests.
        """
        await self.client.perform(operations.stop_runner(runner_id, replace_first))

    async def kill(self, runner_id: str) -> None:
        """
        End a runner at once.
        """
        await self.client.perform(operations.kill_runner(runner_id))


class AsyncKeys:
    """
    Keys.
    """

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def create(
        self,
        *,
        scope: KeyScope | str | None = None,
        description: str | None = None,
        preset: KeyPreset | str | None = None,
        permissions: Sequence[str] | None = None,
    ) -> tuple[str, str]:
        """
        Create a key and return its id and its secret.
        """
        return await self.client.perform(
            operations.create_key(scope, description, preset, permissions)
        )

    async def list(self) -> builtins.list[UserKeyInfo]:
        """
        List the keys.
        """
        return await self.client.perform(operations.list_keys())

    async def revoke(self, key_id: str) -> None:
        """
        Have a key accepted no more.
        """
        await self.client.perform(operations.revoke_key(key_id))


class AsyncSecrets:
    """
    Secrets.
    """

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def list(
        self, environment_name: str | None = None
    ) -> builtins.list[ServerlessSecret]:
        """
        List the secrets, without their values.
        """
        return await self.client.perform(operations.list_secrets(environment_name))

    async def set(
        self,
        name: str,
        value: str,
        environment_name: str | None = None,
        default_exposed: bool | None = None,
    ) -> None:
        """
        Set a secret.
        """
        await self.client.perform(
            operations.set_secret(name, value, environment_name, default_exposed)
        )

    async def unset(self, name: str, environment_name: str | None = None) -> None:
        """
        Remove a secret.
        """
        await self.client.perform(operations.set_secret(name, None, environment_name))


class AsyncEnvironments:
    """
    Environments of the service.
    """

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def create(self, name: str, description: str | None = None) -> EnvironmentInfo:
        """
        Create an environment.
        """
        return await self.client.perform(operations.create_environment(name, description))

    async def list(self) -> builtins.list[EnvironmentInfo]:
        """
        List the environments.
        """
        return await self.client.perform(operations.list_environments())

    async def delete(self, name: str) -> None:
        """
        Remove an environment, and what is in it.
        """
        await self.client.perform(operations.delete_environment(name))


@attrs.define(eq=False, slots=False)
class AsyncServerlessClient(Connection):
    """
    A client of the service for one event loop; ``async with`` closes its connection.
    """

    def __attrs_post_init__(self) -> None:
        self._channel: Any = None
        self.apps = AsyncApps(self)
        self.runners = AsyncRunners(self)
        self.keys = AsyncKeys(self)
        self.secrets = AsyncSecrets(self)
        self.environments = AsyncEnvironments(self)

    async def perform(self, operation: Operation[ValueT]) -> ValueT:
        """
        Ask the service, and return its answer.

        Raises:
            FalServerlessError: It does not do what is asked.
        """
        import grpc
        from isolate_proto.controller_pb2_grpc import IsolateControllerStub

        address = self.address
        # They may lie in a file, and a team's name may have to be asked for.
        metadata = await asyncio.to_thread(lambda: self.credentials.metadata())
        if self._channel is None:
            self._channel = grpc.aio.secure_channel(
                address, channels.security(), options=channels.options()
            )
        # It is generated, without types.
        stub: Any = IsolateControllerStub(self._channel)  # type: ignore[no-untyped-call]
        with translated(address):
            method = getattr(stub, operation.rpc)
            return operation.read(await method(operation.message, metadata=metadata))

    async def deploy(self, *args: Any, **kwargs: Any) -> DeploymentResult:
        """
        Deploy an application, as :func:`deploy.deploy` does, on a thread.
        """
        from fal_host_serverless.client import SyncServerlessClient

        client = SyncServerlessClient(self.host, self.api_key, self.profile, self.team)
        return await asyncio.to_thread(client.deploy, *args, **kwargs)

    async def close(self) -> None:
        """
        Close the connection.
        """
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def __aenter__(self) -> AsyncServerlessClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
