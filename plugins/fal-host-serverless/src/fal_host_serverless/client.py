"""
The client: applications, runners, keys and secrets of the service, from a program.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from fal_host_serverless import apps, channels, environments, keys, runners, secrets
from fal_host_serverless.connections import Connection
from fal_host_serverless.deploy import DeploymentResult, deploy
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


class AppsNamespace:
    """
    Applications, as ``client.apps``.
    """

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def list(
        self, *, filter: str | None = None, environment_name: str | None = None
    ) -> builtins.list[AliasInfo]:
        """
        List the applications whose name has *filter* in it.
        """
        return apps.list_apps(self.client, filter=filter, environment_name=environment_name)

    def rollout(
        self, app_name: str, *, force: bool = False, environment_name: str | None = None
    ) -> None:
        """
        Replace the runners of an application by new ones.
        """
        apps.rollout_app(self.client, app_name, force=force, environment_name=environment_name)

    def runners(
        self,
        app_name: str,
        *,
        since: datetime | None = None,
        state: Sequence[str] | None = None,
        environment_name: str | None = None,
    ) -> builtins.list[RunnerInfo]:
        """
        List the runners of an application, as :func:`apps.apps_runners` does.
        """
        return apps.apps_runners(
            self.client, app_name, since=since, state=state, environment_name=environment_name
        )

    def scale(
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
        return apps.scale_app(self.client, changes.pop("app_name"), **changes)


class RunnersNamespace:
    """
    Runners, as ``client.runners``.
    """

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def list(self, *, since: datetime | None = None) -> builtins.list[RunnerInfo]:
        """
        List the runners of all applications, also those that have ended after *since*.
        """
        return runners.list_runners(self.client, since=since)

    def stop(self, runner_id: str, replace_first: bool = False) -> None:
        """
        Have a runner end once it has finished its requests.
        """
        runners.stop_runner(self.client, runner_id, replace_first)

    def kill(self, runner_id: str) -> None:
        """
        End a runner at once.
        """
        runners.kill_runner(self.client, runner_id)


class KeysNamespace:
    """
    Keys, as ``client.keys``.
    """

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def create(
        self,
        *,
        scope: KeyScope | str | None = None,
        description: str | None = None,
        preset: KeyPreset | str | None = None,
        permissions: Sequence[str] | None = None,
    ) -> tuple[str, str]:
        """
        Create a key, as :func:`keys.create_key` does.
        """
        return keys.create_key(
            self.client,
            scope=scope,
            description=description,
            preset=preset,
            permissions=permissions,
        )

    def list(self) -> builtins.list[UserKeyInfo]:
        """
        List the keys, without their secrets.
        """
        return keys.list_keys(self.client)

    def revoke(self, key_id: str) -> None:
        """
        Have a key accepted no more.
        """
        keys.revoke_key(self.client, key_id)


class SecretsNamespace:
    """
    Secrets, as ``client.secrets``.
    """

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def list(self, environment_name: str | None = None) -> builtins.list[ServerlessSecret]:
        """
        List the secrets, without their values.
        """
        return secrets.list_secrets(self.client, environment_name)

    def set(
        self,
        name: str,
        value: str,
        environment_name: str | None = None,
        default_exposed: bool | None = None,
    ) -> None:
        """
        Set a secret.
        """
        secrets.set_secret(self.client, name, value, environment_name, default_exposed)

    def unset(self, name: str, environment_name: str | None = None) -> None:
        """
        Remove a secret.
        """
        secrets.unset_secret(self.client, name, environment_name)


class EnvironmentsNamespace:
    """
    Environments of the service, as ``client.environments``.
    """

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def create(self, name: str, description: str | None = None) -> EnvironmentInfo:
        """
        Create an environment.
        """
        return environments.create_environment(self.client, name, description)

    def list(self) -> builtins.list[EnvironmentInfo]:
        """
        List the environments.
        """
        return environments.list_environments(self.client)

    def delete(self, name: str) -> None:
        """
        Remove an environment, and what is in it.
        """
        environments.delete_environment(self.client, name)


@attrs.define(eq=False, slots=False)
class SyncServerlessClient(Connection):
    """
    A client of the service.

    Attributes:
        apps: Applications.

        runners: What serves them.

        keys: Who may ask the service.

        secrets: Values that functions see as variables.

        environments: Applications and secrets apart from others.
    """

    def __attrs_post_init__(self) -> None:
        self.apps = AppsNamespace(self)
        self.runners = RunnersNamespace(self)
        self.keys = KeysNamespace(self)
        self.secrets = SecretsNamespace(self)
        self.environments = EnvironmentsNamespace(self)

    def perform(self, operation: Operation[ValueT]) -> ValueT:
        """
        Ask the service, and return its answer.

        Raises:
            FalServerlessError: It does not do what is asked.
        """
        address = self.address
        method = getattr(channels.stub(address), operation.rpc)
        metadata = self.credentials.metadata()
        with translated(address):
            return operation.read(method(operation.message, metadata=metadata))

    def deploy(self, *args: Any, **kwargs: Any) -> DeploymentResult:
        """
        Deploy an application, as :func:`deploy.deploy` does.
        """
        return deploy(self, *args, **kwargs)
