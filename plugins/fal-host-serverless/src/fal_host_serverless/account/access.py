"""Operations on keys, secrets and stages."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, TypeVar

from fal_host_serverless.account.addresses import find_stage
from fal_host_serverless.account.operations import (
    Operation,
    check_names,
    fill,
    read_nothing,
)
from fal_host_serverless.errors import WrongArgument
from fal_host_serverless.values import (
    EnvironmentInfo,
    KeyPreset,
    KeyScope,
    ServerlessSecret,
    UserKeyInfo,
)
from fal_host_serverless.wire.answers import read_key, read_secret, read_stage

EnumT = TypeVar("EnumT", bound=enum.Enum)

_PRESETS = {KeyScope.ADMIN: KeyPreset.FULL, KeyScope.API: KeyPreset.API}


# -- keys --------------------------------------------------------------------------


def create_key(
    scope: KeyScope | str | None,
    description: str | None,
    preset: KeyPreset | str | None = None,
    permissions: Sequence[str] | None = None,
) -> Operation[tuple[str, str]]:
    """
    Create a key with a scope, a preset or permissions, and return its id and its secret.

    Raises:
        WrongArgument: There is no such scope or preset, or not exactly one of the three
            is given.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    if sum(each is not None for each in (scope, preset, permissions)) != 1:
        raise WrongArgument(
            "A key has exactly one of 'scope', 'preset' and 'permissions', as in "
            "preset='DEPLOY'."
        )
    request = fill(isolate_proto.CreateUserKeyRequest(), alias=description)
    if permissions is not None:
        check_names("permissions", permissions, "serverless:apps:run")
        if not permissions:
            raise WrongArgument("Argument 'permissions' is empty: the key could do nothing.")
        request.policy.permissions.extend(permissions)
    elif preset is not None:
        request.policy_preset = _member("preset", preset, KeyPreset).value
    else:
        request.policy_preset = _PRESETS[_member("scope", scope, KeyScope)].value
    return Operation(
        "CreateUserKey", request, lambda response: (response.key_id, response.key_secret)
    )


def _member(argument: str, written: Any, kind: type[EnumT]) -> EnumT:
    """
    Return the member of *kind* with the value *written*, whose case does not matter.

    Raises:
        WrongArgument: There is none.
    """
    try:
        return kind(written.upper() if isinstance(written, str) else written)
    except ValueError:
        *others, last = (repr(each.value.lower()) for each in kind)
        raise WrongArgument(
            f"The {argument} of a key must be {', '.join(others)} or {last}, not {written!r}."
        ) from None


def list_keys() -> Operation[list[UserKeyInfo]]:
    """List the keys, without their secrets."""
    from fal_host_serverless.wire.protocol import isolate_proto

    return Operation(
        "ListUserKeys",
        isolate_proto.ListUserKeysRequest(),
        lambda response: [read_key(key) for key in response.user_keys],
    )


def revoke_key(key_id: str) -> Operation[None]:
    """Revoke a key."""
    from fal_host_serverless.wire.protocol import isolate_proto

    request = isolate_proto.RevokeUserKeyRequest(key_id=key_id)
    return Operation("RevokeUserKey", request, read_nothing)


# -- secrets -----------------------------------------------------------------------


def set_secret(
    name: str,
    value: str | None,
    stage: str | None,
    default_exposed: bool | None = None,
) -> Operation[None]:
    """
    Set a secret; without a value remove it.

    Arguments:
        default_exposed: Whether functions that name no secrets see it; None leaves that
            as it is.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    request = fill(
        isolate_proto.SetSecretRequest(name=name),
        value=value,
        environment_name=find_stage(stage),
        default_exposed=default_exposed,
    )
    return Operation("SetSecret", request, read_nothing)


def list_secrets(stage: str | None) -> Operation[list[ServerlessSecret]]:
    """List the secrets, without their values."""
    from fal_host_serverless.wire.protocol import isolate_proto

    return Operation(
        "ListSecrets",
        fill(isolate_proto.ListSecretsRequest(), environment_name=find_stage(stage)),
        lambda response: [read_secret(secret) for secret in response.secrets],
    )


# -- stages ------------------------------------------------------------------------


def list_stages() -> Operation[list[EnvironmentInfo]]:
    """List the stages."""
    from fal_host_serverless.wire.protocol import isolate_proto

    return Operation(
        "ListEnvironments",
        isolate_proto.ListEnvironmentsRequest(),
        lambda response: [read_stage(each) for each in response.environments],
    )


def create_stage(name: str, description: str | None) -> Operation[EnvironmentInfo]:
    """Create a stage."""
    from fal_host_serverless.wire.protocol import isolate_proto

    return Operation(
        "CreateEnvironment",
        fill(isolate_proto.CreateEnvironmentRequest(name=name), description=description),
        lambda response: read_stage(response.environment),
    )


def delete_stage(name: str) -> Operation[None]:
    """Delete a stage with its applications and secrets."""
    from fal_host_serverless.wire.protocol import isolate_proto

    request = isolate_proto.DeleteEnvironmentRequest(name=name)
    return Operation("DeleteEnvironment", request, read_nothing)
