"""
Operations: what the service is asked, apart from how the question travels.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

from fal_host_serverless import requests, settings, values
from fal_host_serverless.arguments import WrongArgument

ValueT = TypeVar("ValueT")

EnumT = TypeVar("EnumT", bound=enum.Enum)

#: What an application scales by that is a list, with an example.
_LISTED = {"machine_types": "GPU-H100", "regions": "us-east"}
#: The service keeps numbers in 31 bits.
_TOO_MANY = 1 << 31

_PRESETS = {
    values.KeyScope.ADMIN: values.KeyPreset.FULL,
    values.KeyScope.API: values.KeyPreset.API,
}


@attrs.frozen
class Operation(Generic[ValueT]):
    """
    One RPC.

    Attributes:
        rpc: Its name.

        message: The request.

        read: Makes the value of the answer.
    """

    rpc: str
    message: Any
    read: Callable[[Any], ValueT]


def _nothing(answer: Any) -> None:
    return None


def _known(argument: str, written: Any, kind: type[EnumT]) -> EnumT:
    """
    Return the member of *kind* that *written* is, or names.

    Raises:
        WrongArgument: It is none.
    """
    try:
        return kind(written.upper() if isinstance(written, str) else written)
    except ValueError:
        *others, last = (repr(each.value.lower()) for each in kind)
        raise WrongArgument(
            f"The {argument} of a key is {', '.join(others)} or {last}, not {written!r}."
        ) from None


def _check_names(argument: str, written: Any, example: str) -> None:
    """
    Check that *written* is a list of names.

    Raises:
        WrongArgument: It is not.
    """
    if not isinstance(written, list | tuple) or not all(
        isinstance(each, str) and each for each in written
    ):
        raise WrongArgument(
            f"Argument {argument!r} is a list of names, as in [{example!r}], not {written!r}."
        )


def _check_time(since: Any) -> None:
    """
    Check that *since* is a time, if anything.

    Raises:
        WrongArgument: It is none.
    """
    if not isinstance(since, datetime | None):
        raise WrongArgument(f"Argument 'since' is a datetime, not {since!r}.")


def _set(message: Any, **fields: Any) -> Any:
    """
    Set those *fields* that are not None.
    """
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, datetime):
            # Without a zone it is a time of this machine's clock on the wall.
            aware = value if value.tzinfo else value.astimezone()
            getattr(message, name).FromDatetime(aware)
        elif isinstance(value, list | tuple):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


# -- applications ------------------------------------------------------------------


def list_apps(
    filter: str | None, environment_name: str | None
) -> Operation[list[values.AliasInfo]]:
    """
    List the applications whose name has *filter* in it.
    """
    import isolate_proto

    environment_name = settings.environment_name(environment_name)

    def read(answer: Any) -> list[values.AliasInfo]:
        found = [values.read_alias(alias) for alias in answer.aliases]
        return [each for each in found if not filter or filter in each.alias]

    message = _set(isolate_proto.ListAliasesRequest(), environment_name=environment_name)
    return Operation("ListAliases", message, read)


def app_runners(
    app_name: str,
    since: datetime | None,
    state: Iterable[str] | None,
    environment_name: str | None,
) -> Operation[list[values.RunnerInfo]]:
    """
    List the runners of an application that are in one of the states.
    """
    import isolate_proto

    environment_name = settings.environment_name(environment_name)
    _check_time(since)
    wanted = None if state is None else {each.lower() for each in state}
    if wanted is not None and "terminated" in wanted:
        wanted.add("dead")

    def read(answer: Any) -> list[values.RunnerInfo]:
        found = [values.read_runner(runner) for runner in answer.runners]
        return [
            each
            for each in found
            if not wanted or "all" in wanted or each.state.value.lower() in wanted
        ]

    message = _set(
        isolate_proto.ListAliasRunnersRequest(list_pending=True),
        alias=requests.full_name(app_name, environment_name),
        start_time=since,
        environment_name=environment_name,
    )
    return Operation("ListAliasRunners", message, read)


def scale(
    app_name: str, environment_name: str | None, **changes: Any
) -> Operation[values.AliasInfo]:
    """
    Change how an application scales; None leaves what is set.

    Raises:
        WrongArgument: A change is none that the service can be asked for.
    """
    import isolate_proto

    environment_name = settings.environment_name(environment_name)
    for name, value in changes.items():
        if value is None:
            continue
        if name in _LISTED:
            _check_names(name, value, _LISTED[name])
        elif type(value) is not int or not 0 <= value < _TOO_MANY:
            raise WrongArgument(
                f"Argument {name!r} is a whole number from 0 on, not {value!r}."
            )
    names = {"scaling_delay": "scaling_delay_seconds", "regions": "valid_regions"}
    fields = {names.get(name, name): value for name, value in changes.items()}
    message = _set(
        isolate_proto.UpdateApplicationRequest(),
        application_name=requests.full_name(app_name, environment_name),
        environment_name=environment_name,
        **fields,
    )
    return Operation(
        "UpdateApplication", message, lambda answer: values.read_alias(answer.alias_info)
    )


def rollout(app_name: str, force: bool, environment_name: str | None) -> Operation[None]:
    """
    Replace the runners of an application.
    """
    import isolate_proto

    environment_name = settings.environment_name(environment_name)
    message = _set(
        isolate_proto.RolloutApplicationRequest(),
        application_name=requests.full_name(app_name, environment_name),
        force=force,
        environment_name=environment_name,
    )
    return Operation("RolloutApplication", message, _nothing)


# -- runners -----------------------------------------------------------------------


def list_runners(since: datetime | None) -> Operation[list[values.RunnerInfo]]:
    """
    List the runners of all applications.
    """
    import isolate_proto

    _check_time(since)
    message = _set(isolate_proto.ListRunnersRequest(list_pending=True), start_time=since)
    return Operation(
        "ListRunners",
        message,
        lambda answer: [values.read_runner(runner) for runner in answer.runners],
    )


def stop_runner(runner_id: str, replace_first: bool) -> Operation[None]:
    """
    Have a runner end once it has finished its requests.
    """
    import isolate_proto

    message = isolate_proto.StopRunnerRequest(runner_id=runner_id, replace_first=replace_first)
    return Operation("StopRunner", message, _nothing)


def kill_runner(runner_id: str) -> Operation[None]:
    """
    End a runner at once.
    """
    import isolate_proto

    return Operation(
        "KillRunner", isolate_proto.KillRunnerRequest(runner_id=runner_id), _nothing
    )


# -- keys --------------------------------------------------------------------------


def create_key(
    scope: values.KeyScope | str | None,
    description: str | None,
    preset: values.KeyPreset | str | None = None,
    permissions: Sequence[str] | None = None,
) -> Operation[tuple[str, str]]:
    """
    Create a key of a scope, of a preset, or with permissions.

    Raises:
        WrongArgument: There is no such scope or preset, or not one of the three is given.
    """
    import isolate_proto

    if sum(each is not None for each in (scope, preset, permissions)) != 1:
        raise WrongArgument(
            "What a key may do is one of 'scope', 'preset' and 'permissions'. Write one, as "
            "in preset='DEPLOY'."
        )
    message = _set(isolate_proto.CreateUserKeyRequest(), alias=description)
    if permissions is not None:
        _check_names("permissions", permissions, "serverless:apps:run")
        if not permissions:
            raise WrongArgument("Argument 'permissions' is empty: the key could do nothing.")
        message.policy.permissions.extend(permissions)
    elif preset is not None:
        message.policy_preset = _known("preset", preset, values.KeyPreset).value
    else:
        message.policy_preset = _PRESETS[_known("scope", scope, values.KeyScope)].value
    return Operation(
        "CreateUserKey", message, lambda answer: (answer.key_id, answer.key_secret)
    )


def list_keys() -> Operation[list[values.UserKeyInfo]]:
    """
    List the keys.
    """
    import isolate_proto

    return Operation(
        "ListUserKeys",
        isolate_proto.ListUserKeysRequest(),
        lambda answer: [values.read_key(key) for key in answer.user_keys],
    )


def revoke_key(key_id: str) -> Operation[None]:
    """
    Have a key accepted no more.
    """
    import isolate_proto

    return Operation(
        "RevokeUserKey", isolate_proto.RevokeUserKeyRequest(key_id=key_id), _nothing
    )


# -- secrets -----------------------------------------------------------------------


def set_secret(
    name: str,
    value: str | None,
    environment_name: str | None,
    default_exposed: bool | None = None,
) -> Operation[None]:
    """
    Set a secret; without a value remove it.
    """
    import isolate_proto

    environment_name = settings.environment_name(environment_name)
    message = _set(
        isolate_proto.SetSecretRequest(name=name),
        value=value,
        environment_name=environment_name,
        default_exposed=default_exposed,
    )
    return Operation("SetSecret", message, _nothing)


def list_secrets(environment_name: str | None) -> Operation[list[values.ServerlessSecret]]:
    """
    List the secrets, without their values.
    """
    import isolate_proto

    environment_name = settings.environment_name(environment_name)
    message = _set(isolate_proto.ListSecretsRequest(), environment_name=environment_name)
    return Operation(
        "ListSecrets",
        message,
        lambda answer: [values.read_secret(secret) for secret in answer.secrets],
    )


# -- environments ------------------------------------------------------------------


def list_environments() -> Operation[list[values.EnvironmentInfo]]:
    """
    List the environments of the service.
    """
    import isolate_proto

    return Operation(
        "ListEnvironments",
        isolate_proto.ListEnvironmentsRequest(),
        lambda answer: [values.read_environment(each) for each in answer.environments],
    )


def create_environment(name: str, description: str | None) -> Operation[values.EnvironmentInfo]:
    """
    Create an environment of the service.
    """
    import isolate_proto

    message = _set(isolate_proto.CreateEnvironmentRequest(name=name), description=description)
    return Operation(
        "CreateEnvironment",
        message,
        lambda answer: values.read_environment(answer.environment),
    )


def delete_environment(name: str) -> Operation[None]:
    """
    Remove an environment of the service.
    """
    import isolate_proto

    return Operation(
        "DeleteEnvironment", isolate_proto.DeleteEnvironmentRequest(name=name), _nothing
    )
