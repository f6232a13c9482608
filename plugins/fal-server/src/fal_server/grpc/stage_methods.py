"""
The procedures for environments and secrets.
"""

from __future__ import annotations

from isolate_proto import (
    CreateEnvironmentRequest,
    CreateEnvironmentResponse,
    DeleteEnvironmentRequest,
    DeleteEnvironmentResponse,
    EnvironmentInfo,
    ListEnvironmentsRequest,
    ListEnvironmentsResponse,
    ListSecretsRequest,
    ListSecretsResponse,
    SetSecretRequest,
    SetSecretResponse,
)
from isolate_proto import Secret as SecretMessage

from fal_server.access.callers import Caller
from fal_server.grpc.messages import to_timestamp
from fal_server.store.stages import DEFAULT, Stage, Stages
from fal_server.store.vaults import Secret, Vault


class StageMethods:
    """
    Answers the procedures for environments and for the secrets in them.
    """

    def __init__(self, environments: Stages, vault: Vault) -> None:
        self._environments = environments
        self._vault = vault

    async def ListEnvironments(
        self, _: ListEnvironmentsRequest, caller: Caller
    ) -> ListEnvironmentsResponse:
        """
        Return the environments of the account.
        """
        found = await self._environments.list(caller.user_id)
        return ListEnvironmentsResponse(environments=map(_describe_environment, found))

    async def CreateEnvironment(
        self, request: CreateEnvironmentRequest, caller: Caller
    ) -> CreateEnvironmentResponse:
        """
        Make an environment.
        """
        description = request.description if request.HasField("description") else None
        made = await self._environments.create(caller.user_id, request.name, description)
        return CreateEnvironmentResponse(environment=_describe_environment(made))

    async def DeleteEnvironment(
        self, request: DeleteEnvironmentRequest, caller: Caller
    ) -> DeleteEnvironmentResponse:
        """
        Remove an environment with all that is in it.
        """
        await self._environments.delete(caller.user_id, request.name)
        return DeleteEnvironmentResponse()

    async def SetSecret(self, request: SetSecretRequest, caller: Caller) -> SetSecretResponse:
        """
        Set a secret, or remove it where the request has no value.
        """
        environment = request.environment_name or DEFAULT
        exposed = request.default_exposed if request.HasField("default_exposed") else None
        if request.HasField("value"):
            await self._vault.set(
                caller.user_id,
                environment,
                request.name,
                request.value,
                default_exposed=exposed,
            )
        else:
            await self._vault.unset(caller.user_id, environment, request.name)
        return SetSecretResponse()

    async def ListSecrets(
        self, request: ListSecretsRequest, caller: Caller
    ) -> ListSecretsResponse:
        """
        Return the secrets of an environment, without their values.
        """
        environment = request.environment_name or DEFAULT
        found = await self._vault.list(caller.user_id, environment)
        return ListSecretsResponse(secrets=map(_describe_secret, found))


def _describe_environment(environment: Stage) -> EnvironmentInfo:
    return EnvironmentInfo(
        name=environment.name,
        description=environment.description,
        is_default=environment.is_default,
        created_at=to_timestamp(environment.created_at),
    )


def _describe_secret(secret: Secret) -> SecretMessage:
    return SecretMessage(
        name=secret.name,
        created_time=to_timestamp(secret.created_at),
        environment_name=secret.environment,
        default_exposed=secret.default_exposed,
    )
