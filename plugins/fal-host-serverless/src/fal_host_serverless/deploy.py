"""Deploy an application of a file or of a project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from fal_core.calls import AuthMode
from fal_host_serverless.account.addresses import find_stage
from fal_host_serverless.deploying import app_references, deployments
from fal_host_serverless.deploying.deployments import Deployment, DeploymentResult, execute
from fal_host_serverless.deploying.revision_notes import read_notes

if TYPE_CHECKING:
    from fal_host_serverless.clients import ServiceClient
    from fal_host_serverless.values import DeploymentStrategy

__all__ = [
    "Deployment",
    "DeploymentResult",
    "User",
    "deploy",
    "execute",
    "get_user",
    "prepare",
]


class User(NamedTuple):
    """The account that a client acts for."""

    user_id: str
    username: str


def prepare(
    client: ServiceClient,
    app_ref: str | tuple[str, str | None] | None = None,
    *,
    app_name: str | None = None,
    auth: AuthMode | None = None,
    strategy: DeploymentStrategy | None = None,
    reset_scale: bool | None = None,
    force_env_build: bool = False,
    environment_name: str | None = None,
    attach_to_deployment: bool | None = None,
    message: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Deployment:
    """
    Return the deployment that :func:`deploy` would carry out; no request is sent.

    Raises:
        OptionError: There is no such application, or its declaration is wrong.
    """
    notes = read_notes(message, annotations)
    declared = app_references.resolve(app_ref)
    if declared.team and not client.team:
        client = attrs.evolve(client, team=declared.team)
    file, _, _ = (declared.ref or "").partition("::")
    host = client.make_host(
        local_file_path=os.path.abspath(file) if file.endswith(".py") else "",
        environment_name=find_stage(environment_name),
    )
    return deployments.plan(
        host,
        host.find_service(),
        declared,
        app_name=app_name,
        auth=auth,
        strategy=strategy,
        reset_scale=reset_scale,
        force_env_build=force_env_build,
        team=client.team,
        attach=attach_to_deployment,
        notes=notes,
    )


def deploy(
    client: ServiceClient,
    app_ref: str | tuple[str, str | None] | None = None,
    *,
    app_name: str | None = None,
    auth: AuthMode | None = None,
    strategy: DeploymentStrategy = "rolling",
    reset_scale: bool = False,
    force_env_build: bool = False,
    environment_name: str | None = None,
    attach_to_deployment: bool | None = None,
    message: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> DeploymentResult:
    """
    Deploy an application.

    Arguments:
        app_ref: ``file.py::App``, ``file.py`` if it has only one, or the name of an
            application in ``pyproject.toml``; None for the only one there.

        app_name: The name of the application; by default that of the declaration.

        auth: Who may call it.

        strategy: ``recreate`` ends the runners of the previous revision at once.

        reset_scale: Replace the scaling that is set by that of the declaration.

        force_env_build: Build the environment again.

        environment_name: The stage to deploy to.

        attach_to_deployment: Return once a rolling deployment has taken over, or at
            once; None leaves that to the service.

        message: A description of the revision.

        annotations: Texts that the revision carries by name, such as its commit.

    Raises:
        OptionError: There is no such application, or its declaration is wrong.

        FalServerlessError: The service refused the deployment, or it failed.
    """
    return execute(
        prepare(
            client,
            app_ref,
            app_name=app_name,
            auth=auth,
            strategy=None if strategy == "rolling" else strategy,
            reset_scale=reset_scale or None,
            force_env_build=force_env_build,
            environment_name=environment_name,
            attach_to_deployment=attach_to_deployment,
            message=message,
            annotations=annotations,
        )
    )


def get_user(client: ServiceClient) -> User:
    """
    Return the account that *client* acts for.

    Raises:
        FalServerlessError: The service answered with an error.
    """
    with client.rest() as rest:
        response: Mapping[str, Any] = rest.send("GET", "/users/current").json()
    identity = str(response["user_id"])
    return User(identity.partition("|")[2] or identity, response["nickname"])
