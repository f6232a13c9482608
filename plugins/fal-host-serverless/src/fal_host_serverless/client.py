"""The client: applications, runners, keys, secrets and stages, from a program."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from fal_host_serverless.account import access, applications, operations
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


class AppsNamespace:
    """Applications, as ``client.apps``."""

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def list(
        self, *, filter: str | None = None, environment_name: str | None = None
    ) -> builtins.list[AliasInfo]:
        """List the applications whose name contains *filter*."""
        return self.client.perform(applications.list_apps(filter, environment_name))

    def rollout(
        self, app_name: str, *, force: bool = False, environment_name: str | None = None
    ) -> None:
        """Replace the runners of an application by new ones."""
        self.client.perform(applications.rollout(app_name, force, environment_name))

    def runners(
        self,
        app_name: str,
        *,
        since: datetime | None = None,
        state: Sequence[str] | None = None,
        environment_name: str | None = None,
    ) -> builtins.list[RunnerInfo]:
        """List the runners of an application, as :func:`apps.apps_runners` does."""
        operation = applications.app_runners(app_name, since, state, environment_name)
        return self.client.perform(operation)

    @with_arguments_of(applications.scale)
    def scale(self, *args: Any, **kwargs: Any) -> AliasInfo:
        """Change how an application scales, as :func:`apps.scale_app` does."""
        return self.client.perform(applications.scale(*args, **kwargs))


class RunnersNamespace:
    """Runners, as ``client.runners``."""

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def list(self, *, since: datetime | None = None) -> builtins.list[RunnerInfo]:
        """List the runners of all applications, with those that have ended after *since*."""
        return self.client.perform(applications.list_runners(since))

    def stop(self, runner_id: str, replace_first: bool = False) -> None:
        """Stop a runner once it has finished its requests."""
        self.client.perform(applications.stop_runner(runner_id, replace_first))

    def kill(self, runner_id: str) -> None:
        """End a runner at once."""
        self.client.perform(applications.kill_runner(runner_id))


class KeysNamespace:
    """Keys, as ``client.keys``."""

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
        """Create a key, as :func:`keys.create_key` does."""
        return self.client.perform(access.create_key(scope, description, preset, permissions))

    def list(self) -> builtins.list[UserKeyInfo]:
        """List the keys, without their secrets."""
        return self.client.perform(access.list_keys())

    def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        self.client.perform(access.revoke_key(key_id))


class SecretsNamespace:
    """Secrets, as ``client.secrets``."""

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def list(self, environment_name: str | None = None) -> builtins.list[ServerlessSecret]:
        """List the secrets, without their values."""
        return self.client.perform(access.list_secrets(environment_name))

    def set(
        self,
        name: str,
        value: str,
        environment_name: str | None = None,
        default_exposed: bool | None = None,
    ) -> None:
        """Set a secret."""
        operation = access.set_secret(name, value, environment_name, default_exposed)
        self.client.perform(operation)

    def unset(self, name: str, environment_name: str | None = None) -> None:
        """Remove a secret."""
        self.client.perform(access.set_secret(name, None, environment_name))


class EnvironmentsNamespace:
    """Stages, as ``client.environments``."""

    def __init__(self, client: SyncServerlessClient) -> None:
        self.client = client

    def create(self, name: str, description: str | None = None) -> EnvironmentInfo:
        """Create a stage."""
        return self.client.perform(access.create_stage(name, description))

    def list(self) -> builtins.list[EnvironmentInfo]:
        """List the stages."""
        return self.client.perform(access.list_stages())

    def delete(self, name: str) -> None:
        """Delete a stage with its applications and secrets."""
        self.client.perform(access.delete_stage(name))


@attrs.define(eq=False, slots=False)
class SyncServerlessClient(ServiceClient):
    """
    A client of the service.

    Attributes:
        apps: Applications.

        runners: The runners of applications.

        keys: The keys of the account.

        secrets: Values that functions see as environment variables.

        environments: The stages.
    """

    def __attrs_post_init__(self) -> None:
        self.apps: AppsNamespace = AppsNamespace(self)
        self.runners: RunnersNamespace = RunnersNamespace(self)
        self.keys: KeysNamespace = KeysNamespace(self)
        self.secrets: SecretsNamespace = SecretsNamespace(self)
        self.environments: EnvironmentsNamespace = EnvironmentsNamespace(self)

    def perform(self, operation: Operation[ValueT]) -> ValueT:
        """
        Perform *operation* and return its value.

        Raises:
            FalServerlessError: The service answered with an error.
        """
        return operations.perform(self.find_service(), operation)

    def deploy(self, *args: Any, **kwargs: Any) -> DeploymentResult:
        """Deploy an application, as :func:`deploy.deploy` does."""
        return deploy(self, *args, **kwargs)

    @with_arguments_of(Submission)
    def submit(self, *args: Any, **kwargs: Any) -> SubmittedRequest:
        """
        Put a request into the queue of an application, and return at once.

        Arguments:
            app_name: The name of the application, or ``owner/name`` for that of another
                owner.

            arguments: What is sent as JSON.

            path: The path within the application, with a query if there is one.

            key: An idempotency key: however often requests with it are sent, one is
                accepted. The request is then sent again if the connection breaks.

            environment_name: The stage of the application.

        Raises:
            OptionError: *key* is given, and the service takes none.

            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        return Submission(*args, **kwargs).send(self.find_service())
