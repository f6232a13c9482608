"""Operations on the revisions of applications, and the history of what was deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fal_core.errors import OptionError
from fal_host_serverless.account.addresses import find_stage
from fal_host_serverless.account.operations import Operation, fill, read_nothing
from fal_host_serverless.account.queued_requests import find_application
from fal_host_serverless.account.told_facts import has_ability
from fal_host_serverless.errors import ResourceNotFound
from fal_host_serverless.values import AliasInfo, DeploymentInfo, RevisionInfo
from fal_host_serverless.wire.answers import read_alias, read_deployment, read_revision
from fal_host_serverless.wire.requests import full_name
from fal_host_serverless.wire.services import Service

#: The ability by which a service keeps the history of applications.
DEPLOYMENTS = "deployments"


def list_revisions(app_name: str, stage: str | None) -> Operation[list[RevisionInfo]]:
    """List the revisions of an application, the newest first."""
    from fal_host_serverless.wire.protocol import isolate_proto

    stage = find_stage(stage)
    request = fill(
        isolate_proto.ListApplicationsRequest(),
        application_name=full_name(app_name, stage),
        environment_name=stage,
    )

    def read(response: Any) -> list[RevisionInfo]:
        found = [read_revision(each) for each in response.applications]
        return sorted(found, key=lambda each: each.created_at, reverse=True)

    return Operation("ListApplications", request, read)


def point_to(
    app_name: str, revision: str, strategy: str, stage: str | None
) -> Operation[AliasInfo]:
    """
    Let an earlier revision of an application take over.

    Arguments:
        strategy: As that of a deployment.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    stage = find_stage(stage)
    request = fill(
        isolate_proto.SetAliasRequest(),
        alias=full_name(app_name, stage),
        revision=revision,
        environment_name=stage,
        deployment_strategy=isolate_proto.DeploymentStrategy.Value(strategy.upper()),
    )
    return Operation("SetAlias", request, lambda response: read_alias(response.alias_info))


def delete_app(app_name: str, stage: str | None) -> Operation[None]:
    """Delete an application. Its revisions stay, and its requests are finished."""
    from fal_host_serverless.wire.protocol import isolate_proto

    stage = find_stage(stage)
    request = fill(
        isolate_proto.DeleteAliasRequest(),
        alias=full_name(app_name, stage),
        environment_name=stage,
    )
    return Operation("DeleteAlias", request, read_nothing)


def delete_revision(revision: str) -> Operation[None]:
    """Delete a revision."""
    from fal_host_serverless.wire.protocol import isolate_proto

    request = isolate_proto.DeleteApplicationRequest(application_id=revision)
    return Operation("DeleteApplication", request, read_nothing)


def read_history(
    service: Service, app_name: str, stage: str | None
) -> Sequence[DeploymentInfo] | None:
    """
    Return what was done to an application of the account, the newest first; nothing where
    there is no such application. None where the service keeps no history.

    Raises:
        FalServerlessError: The service cannot be reached, or answered with an error.
    """
    rest = service.shared_rest()
    if not has_ability(rest, DEPLOYMENTS):
        return None
    application = find_application(rest, app_name, stage)
    try:
        told = rest.send("GET", f"/applications/{application}/deployments").json()
    except ResourceNotFound:
        return ()
    return [read_deployment(each) for each in told["deployments"]]


def read_failures(service: Service) -> Mapping[str, datetime]:
    """
    Return the applications of the account of which no runner has come up, each with since
    when. Empty where the service does not tell.

    Raises:
        FalServerlessError: The service cannot be reached, or answered with an error.
    """
    rest = service.shared_rest()
    if not has_ability(rest, DEPLOYMENTS):
        return {}
    try:
        told = rest.send("GET", "/applications/failures").json()["failures"]
    except ResourceNotFound:
        return {}
    return {name: datetime.fromisoformat(each["since"]) for name, each in told.items()}


def find_previous(
    app_name: str,
    current: str | None,
    revisions: Sequence[RevisionInfo],
    history: Sequence[DeploymentInfo],
) -> str:
    """
    Return the revision that served before the *current* one.

    Arguments:
        current: None for an application that is deleted.

        revisions: Those that there are, the newest first.

        history: What is known of what has served. Without it, that is the next older revision.

    Raises:
        OptionError: There is none.
    """
    known = [each.revision for each in revisions]
    for each in history:
        served = each.outcome == "serving" and each.revision != current
        if served and each.revision in known:
            return each.revision
    older = known[known.index(current) + 1 :] if current in known else known
    if not history and older:
        return older[0]
    raise OptionError(
        f"No earlier revision of {app_name!r} has served. 'fal-core apps revisions {app_name}' "
        "lists those that there are: name one."
    )
