"""Operations on applications and their runners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fal_host_serverless.account.addresses import find_stage
from fal_host_serverless.account.operations import (
    Operation,
    check_names,
    check_time,
    fill,
    read_nothing,
)
from fal_host_serverless.errors import WrongArgument
from fal_host_serverless.values import AliasInfo, RunnerInfo
from fal_host_serverless.wire.answers import read_alias, read_runner
from fal_host_serverless.wire.requests import SCALING_FIELDS, full_name

#: The changes of :func:`scale` that are lists, with an example of each.
_LISTS = {"machine_types": "GPU-H100", "regions": "us-east"}
#: The changes that have another name in the message.
_FIELDS = {**SCALING_FIELDS, "regions": "valid_regions"}
#: The first number that does not fit a field.
_TOO_MANY = 1 << 31


def list_apps(filter: str | None, stage: str | None) -> Operation[list[AliasInfo]]:
    """List the applications whose name contains *filter*."""
    from fal_host_serverless.wire.protocol import isolate_proto

    def read(response: Any) -> list[AliasInfo]:
        found = [read_alias(alias) for alias in response.aliases]
        return [each for each in found if not filter or filter in each.alias]

    request = fill(isolate_proto.ListAliasesRequest(), environment_name=find_stage(stage))
    return Operation("ListAliases", request, read)


def app_runners(
    app_name: str,
    since: datetime | None,
    state: Sequence[str] | None,
    stage: str | None,
) -> Operation[list[RunnerInfo]]:
    """
    List the runners of an application.

    Arguments:
        since: Include runners that have ended after this time.

        state: The states to include; None, and ``all`` among them, for any.

    Raises:
        WrongArgument: *since* is no datetime, or *state* no list.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    stage = find_stage(stage)
    check_time(since)
    if state is not None:
        check_names("state", state, "running")
    wanted = None if state is None else {each.lower() for each in state}
    if wanted is not None and "terminated" in wanted:
        wanted.add("dead")

    def read(response: Any) -> list[RunnerInfo]:
        found = [read_runner(runner) for runner in response.runners]
        return [
            each
            for each in found
            if not wanted or "all" in wanted or each.state.value.lower() in wanted
        ]

    request = fill(
        isolate_proto.ListAliasRunnersRequest(list_pending=True),
        alias=full_name(app_name, stage),
        start_time=since,
        environment_name=stage,
    )
    return Operation("ListAliasRunners", request, read)


def scale(
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
) -> Operation[AliasInfo]:
    """
    Change how an application scales. None leaves a setting as it is; times are seconds.

    Arguments:
        request_start_timeout: 0 removes the limit that was set. A server of fal-core reads
            0 in the same way in *max_concurrency*, *request_timeout* and *startup_timeout*.

    Raises:
        WrongArgument: A value has a wrong type, or does not fit its field.
    """
    changes = {name: value for name, value in locals().items() if value is not None}
    del changes["app_name"]
    changes.pop("environment_name", None)
    from fal_host_serverless.wire.protocol import isolate_proto

    for name, value in changes.items():
        if name in _LISTS:
            check_names(name, value, _LISTS[name])
        elif type(value) is not int or not 0 <= value < _TOO_MANY:
            raise WrongArgument(
                f"Argument {name!r} must be a whole number from 0 on, not {value!r}."
            )
    stage = find_stage(environment_name)
    request = fill(
        isolate_proto.UpdateApplicationRequest(),
        application_name=full_name(app_name, stage),
        environment_name=stage,
        **{_FIELDS.get(name, name): value for name, value in changes.items()},
    )
    return Operation(
        "UpdateApplication", request, lambda response: read_alias(response.alias_info)
    )


def rollout(app_name: str, force: bool, stage: str | None) -> Operation[None]:
    """
    Replace the runners of an application.

    Arguments:
        force: End the old runners at once.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    stage = find_stage(stage)
    request = fill(
        isolate_proto.RolloutApplicationRequest(),
        application_name=full_name(app_name, stage),
        force=force,
        environment_name=stage,
    )
    return Operation("RolloutApplication", request, read_nothing)


def list_runners(since: datetime | None) -> Operation[list[RunnerInfo]]:
    """
    List the runners of all applications.

    Arguments:
        since: Include runners that have ended after this time.

    Raises:
        WrongArgument: *since* is no datetime.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    check_time(since)
    request = fill(isolate_proto.ListRunnersRequest(list_pending=True), start_time=since)
    return Operation(
        "ListRunners",
        request,
        lambda response: [read_runner(runner) for runner in response.runners],
    )


def stop_runner(runner_id: str, replace_first: bool = False) -> Operation[None]:
    """
    Stop a runner once it has finished its requests.

    Arguments:
        replace_first: Start another runner before.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    request = isolate_proto.StopRunnerRequest(runner_id=runner_id, replace_first=replace_first)
    return Operation("StopRunner", request, read_nothing)


def kill_runner(runner_id: str) -> Operation[None]:
    """End a runner at once."""
    from fal_host_serverless.wire.protocol import isolate_proto

    request = isolate_proto.KillRunnerRequest(runner_id=runner_id)
    return Operation("KillRunner", request, read_nothing)
