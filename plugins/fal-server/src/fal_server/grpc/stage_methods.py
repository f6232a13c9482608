"""The methods for stages, which the protocol calls environments, and for secrets."""

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
    """The gRPC methods for stages, and for the secrets in them."""

    def __init__(self, stages: Stages, vault: Vault) -> None:
        self._stages = stages
        self._vault = vault

    async def ListEnvironments(
        self, _: ListEnvironmentsRequest, caller: Caller
    ) -> ListEnvironmentsResponse:
        """Return the stages of the account."""
        found = await self._stages.list(caller.user_id)
        return ListEnvironmentsResponse(environments=map(_describe_stage, found))

    async def CreateEnvironment(
        self, request: CreateEnvironmentRequest, caller: Caller
    ) -> CreateEnvironmentResponse:
        """Create a stage."""
        description = request.description if request.HasField("description") else None
        made = await self._stages.create(caller.user_id, request.name, description)
        return CreateEnvironmentResponse(environment=_describe_stage(made))

    async def DeleteEnvironment(
        self, request: DeleteEnvironmentRequest, caller: Caller
    ) -> DeleteEnvironmentResponse:
        """Delete a stage with everything that belongs to it."""
        await self._stages.delete(caller.user_id, request.name)
        return DeleteEnvironmentResponse()

    async def SetSecret(self, request: SetSecretRequest, caller: Caller) -> SetSecretResponse:
        """Set a secret, or remove it where the request has no value."""
        stage = request.environment_name or DEFAULT
        exposed = request.default_exposed if request.HasField("default_exposed") else None
        if request.HasField("value"):
            await self._vault.set(
                caller.user_id,
                stage,
                request.name,
                request.value,
                default_exposed=exposed,
            )
        else:
            await self._vault.unset(caller.user_id, stage, request.name)
        return SetSecretResponse()

    async def ListSecrets(
        self, request: ListSecretsRequest, caller: Caller
    ) -> ListSecretsResponse:
        """Return the secrets of a stage, without their values."""
        stage = request.environment_name or DEFAULT
        found = await self._vault.list(caller.user_id, stage)
        return ListSecretsResponse(secrets=map(_describe_secret, found))


def _describe_stage(stage: Stage) -> EnvironmentInfo:
    return EnvironmentInfo(
        name=stage.name,
        description=stage.description,
        is_default=stage.is_default,
        created_at=to_timestamp(stage.created_at),
    )


def _describe_secret(secret: Secret) -> SecretMessage:
    return SecretMessage(
        name=secret.name,
        created_time=to_timestamp(secret.created_at),
        environment_name=secret.stage,
        default_exposed=secret.default_exposed,
    )
