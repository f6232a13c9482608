"""The client for code that runs in an event loop."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from fal_host_serverless.account import access, applications
from fal_host_serverless.account.operations import Operation, ValueT
from fal_host_serverless.account.queued_requests import Submission
from fal_host_serverless.account.signatures import with_arguments_of
from fal_host_serverless.clients import ServiceClient
from fal_host_serverless.deploy import DeploymentResult, deploy
from fal_host_serverless.values import (
    AliasInfo,
    EnvironmentInfo,
    KeyPreset,
    KeyScope,
    RunnerInfo,
    ServerlessSecret,
    SubmittedRequest,
    UserKeyInfo,
)
from fal_host_serverless.wire import channels
from fal_host_serverless.wire.failures import translated


class AsyncApps:
    """Applications."""

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def list(
        self, *, filter: str | None = None, environment_name: str | None = None
    ) -> builtins.list[AliasInfo]:
        """List the applications whose name contains *filter*."""
        return await self.client.perform(applications.list_apps(filter, environment_name))

    async def rollout(
        self, app_name: str, *, force: bool = False, environment_name: str | None = None
    ) -> None:
        """Replace the runners of an application by new ones."""
        await self.client.perform(applications.rollout(app_name, force, environment_name))

    async def runners(
        self,
        app_name: str,
        *,
        since: datetime | None = None,
        state: Sequence[str] | None = None,
        environment_name: str | None = None,
    ) -> builtins.list[RunnerInfo]:
        """List the runners of an application."""
        operation = applications.app_runners(app_name, since, state, environment_name)
        return await self.client.perform(operation)

    @with_arguments_of(applications.scale)
    async def scale(self, *args: Any, **kwargs: Any) -> AliasInfo:
        """Change how an application scales, as :func:`apps.scale_app` does."""
        return await self.client.perform(applications.scale(*args, **kwargs))


class AsyncRunners:
    """Runners."""

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def list(self, *, since: datetime | None = None) -> builtins.list[RunnerInfo]:
        """List the runners of all applications, with those that have ended after *since*."""
        return await self.client.perform(applications.list_runners(since))

    async def stop(self, runner_id: str, replace_first: bool = False) -> None:
        """Stop a runner once it has finished its requests."""
        await self.client.perform(applications.stop_runner(runner_id, replace_first))

    async def kill(self, runner_id: str) -> None:
        """End a runner at once."""
        await self.client.perform(applications.kill_runner(runner_id))


class AsyncKeys:
    """Keys."""

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
        """Create a key and return its id and its secret."""
        return await self.client.perform(
            access.create_key(scope, description, preset, permissions)
        )

    async def list(self) -> builtins.list[UserKeyInfo]:
        """List the keys."""
        return await self.client.perform(access.list_keys())

    async def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        await self.client.perform(access.revoke_key(key_id))


class AsyncSecrets:
    """Secrets."""

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def list(
        self, environment_name: str | None = None
    ) -> builtins.list[ServerlessSecret]:
        """List the secrets, without their values."""
        return await self.client.perform(access.list_secrets(environment_name))

    async def set(
        self,
        name: str,
        value: str,
        environment_name: str | None = None,
        default_exposed: bool | None = None,
    ) -> None:
        """Set a secret."""
        await self.client.perform(
            access.set_secret(name, value, environment_name, default_exposed)
        )

    async def unset(self, name: str, environment_name: str | None = None) -> None:
        """Remove a secret."""
        await self.client.perform(access.set_secret(name, None, environment_name))


class AsyncEnvironments:
    """Stages."""

    def __init__(self, client: AsyncServerlessClient) -> None:
        self.client = client

    async def create(self, name: str, description: str | None = None) -> EnvironmentInfo:
        """Create a stage."""
        return await self.client.perform(access.create_stage(name, description))

    async def list(self) -> builtins.list[EnvironmentInfo]:
        """List the stages."""
        return await self.client.perform(access.list_stages())

    async def delete(self, name: str) -> None:
        """Delete a stage with its applications and secrets."""
        await self.client.perform(access.delete_stage(name))


@attrs.define(eq=False, slots=False)
class AsyncServerlessClient(ServiceClient):
    """A client of the service for one event loop; ``async with`` closes its connection."""

    def __attrs_post_init__(self) -> None:
        self._channel: Any = None
        self.apps: AsyncApps = AsyncApps(self)
        self.runners: AsyncRunners = AsyncRunners(self)
        self.keys: AsyncKeys = AsyncKeys(self)
        self.secrets: AsyncSecrets = AsyncSecrets(self)
        self.environments: AsyncEnvironments = AsyncEnvironments(self)

    async def perform(self, operation: Operation[ValueT]) -> ValueT:
        """
        Perform *operation* and return its value.

        Raises:
            FalServerlessError: The service answered with an error.
        """
        from fal_host_serverless.wire.protocol import IsolateControllerStub, grpc

        address = self.address
        # They may be read from a file, and a team may have to be looked up.
        metadata = await asyncio.to_thread(lambda: self.credentials.metadata())
        if self._channel is None:
            self._channel = grpc.aio.secure_channel(
                address, channels.security(), options=channels.options()
            )
        # It is generated, without types.
        stub: Any = IsolateControllerStub(self._channel)  # type: ignore[no-untyped-call]
        with translated(address):
            send = getattr(stub, operation.method)
            return operation.read(await send(operation.request, metadata=metadata))

    async def deploy(self, *args: Any, **kwargs: Any) -> DeploymentResult:
        """Deploy an application, as :func:`deploy.deploy` does, on a thread."""
        return await asyncio.to_thread(deploy, self, *args, **kwargs)

    @with_arguments_of(Submission)
    async def submit(self, *args: Any, **kwargs: Any) -> SubmittedRequest:
        """
        Put a request into the queue of an application, as the other client does, on a
        thread.
        """
        submission = Submission(*args, **kwargs)
        return await asyncio.to_thread(lambda: submission.send(self.find_service()))

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def __aenter__(self) -> AsyncServerlessClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
