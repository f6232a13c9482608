"""
Deploying: an application of a file, or of a project, becomes a revision that serves.
"""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import AuthMode, Call
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_core.events import LogSink
from fal_core.functions import IsolatedFunction
from fal_core.sinks.printing import print_log
from fal_host_serverless import (
    channels,
    entry_points,
    files,
    operations,
    preparations,
    references,
    registering,
    requests,
    settings,
)
from fal_host_serverless.annotations import written
from fal_host_serverless.failures import translated

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient
    from fal_host_serverless.distributions import Distribution
    from fal_host_serverless.hosts import DeploymentStrategy, FalServerlessHost

#: Whose applications a client deploys.
User = namedtuple("User", ["user_id", "username"])


@attrs.define
class DeploymentResult:
    """
    A revision that was deployed, and where it is reached.

    Attributes:
        urls: By what they are for (``playground``, ``sync``, ``async``), and by path.

        auth_mode: Who may reach it; ``unchanged`` where the credentials may deploy and
            not look.

        log_url: Where people see its logs.
    """

    revision: str
    app_name: str
    urls: dict[str, dict[str, str]]
    log_url: str
    auth_mode: str


@attrs.frozen(kw_only=True, eq=False)
class Deployment:
    """
    A deployment before the service is asked.

    Attributes:
        files: What of this machine travels, with its sizes.

        attach: Wait until a rolling deployment has taken over, or not at all; None
            leaves it to the service.

        notes: What people say of the revision.

        entry_point: What the environment brings in place of the function.
    """

    app_name: str
    auth: AuthMode | None
    strategy: DeploymentStrategy
    reset_scale: bool
    environment_name: str | None
    team: str | None
    host: FalServerlessHost
    function: IsolatedFunction[..., Any]
    call: Call
    attach: bool | None = None
    notes: Mapping[str, Any] = attrs.field(factory=dict)
    entry_point: str | None = None

    @property
    def files(self) -> list[files.LocalFile]:
        """
        Return the files of this machine that travel.
        """
        return preparations.local_files(self.host, self.call)

    @property
    def sources(self) -> dict[Path, Distribution]:
        """
        Return the projects of this machine that travel, packed.
        """
        return preparations.local_sources(self.host, self.call)

    @property
    def endpoints(self) -> list[str]:
        """
        Return the paths that requests are answered at.
        """
        served = self.function.raw_func
        find = getattr(served, "get_endpoints", None)
        return list(find()) if callable(find) else ["/"]

    @property
    def metadata(self) -> dict[str, Any]:
        """
        Return what the revision carries beside its code.
        """
        described = registering.describe(self.function, self.function.options)
        return {**described, **self.notes}

    @property
    def source_code(self) -> str | None:
        """
        Return the text of the file that was deployed.
        """
        path = Path(self.host.local_file_path)
        return path.read_text("utf-8") if path.is_file() else None


def prepare(
    client: SyncServerlessClient,
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
    Return what a deployment would do; the service is not asked.

    Raises:
        OptionError: There is no such application, or its declaration is wrong.
    """
    notes = written(message, annotations)
    declared = references.resolve(app_ref)
    if declared.team and not client.team:
        client = attrs.evolve(client, team=declared.team)
    strategy = strategy or declared.strategy or "rolling"
    registering.check_attached(attach_to_deployment, strategy)
    options: dict[str, Any] = dict(declared.options)
    if force_env_build:
        options["force"] = True
    place, _, _ = (declared.ref or "").partition("::")
    environment_name = settings.environment_name(environment_name)
    host = client.make_host(
        local_file_path=os.path.abspath(place) if place.endswith(".py") else "",
        environment_name=environment_name,
    )
    if declared.ref is None:
        function, call = entry_points.declare(
            host,
            app_name or declared.name,
            options=options,
            image=declared.image,
            entry_point=declared.entry_point,
        )
    else:
        function = references.load(declared.ref).on(host, **options)
        call = registering.sealed(host, function, function.options)
    return Deployment(
        app_name=app_name or declared.name or _name_of(function),
        entry_point=declared.entry_point,
        auth=auth or declared.auth or function.app_auth,
        strategy=strategy,
        reset_scale=bool(declared.reset_scale if reset_scale is None else reset_scale),
        environment_name=environment_name,
        team=client.team,
        host=host,
        function=function,
        call=call,
        attach=attach_to_deployment,
        notes=notes,
    )


def execute(deployment: Deployment, *, log: LogSink = print_log) -> DeploymentResult:
    """
    Build the environment, and deploy.

    Raises:
        FalServerlessError: The service does not do it.
    """
    host, call = deployment.host, deployment.call
    registration = registering.Registration(
        application_name=deployment.app_name,
        auth_mode=deployment.auth,
        source_code=deployment.source_code,
        metadata=deployment.metadata,
        strategy=deployment.strategy,
        scale=deployment.reset_scale,
        environment_name=deployment.environment_name,
        build_environment=False,
        attach_to_deployment=deployment.attach,
    )
    # Once: what is registered is the environment that was built.
    prepared = preparations.prepare(host, call, log)
    registering.build(host, call, prepared, registration, log)
    paths = deployment.endpoints
    if deployment.entry_point is not None:
        told = entry_points.describe(host, call, prepared, deployment.entry_point, log)
        paths = [*told.get("openapi", {}).get("paths", ())] or paths
        registration = attrs.evolve(
            registration,
            metadata={**told, **registration.metadata},
            entry_point=entry_points.served(deployment.entry_point),
        )
    result = registering.register(host, call, prepared, registration, log)
    if result is None or result.result is None or result.service_urls is None:
        raise FalServerlessError(
            "The service did not confirm the deployment. Its log says more; a name of small "
            "letters, digits and hyphens is always allowed."
        )
    urls = result.service_urls
    bases = {"playground": urls.playground, "sync": urls.run, "async": urls.queue}
    return DeploymentResult(
        revision=result.result.application_id,
        app_name=deployment.app_name,
        urls={use: {path: f"{base}{path}" for path in paths} for use, base in bases.items()},
        log_url=urls.log,
        auth_mode=deployment.auth or _auth_of(deployment),
    )


def _auth_of(deployment: Deployment) -> str:
    """
    Return who may reach what was deployed, where the deployment leaves that as it is.
    """
    host, environment_name = deployment.host, deployment.environment_name
    question = operations.list_apps(None, environment_name)
    name = requests.full_name(deployment.app_name, environment_name)
    try:
        with translated(host.address):
            ask = getattr(channels.stub(host.address), question.rpc)
            found = question.read(ask(question.message, metadata=host.caller.metadata()))
    except (FalServerlessError, InternalFalServerlessError):
        # A key that may deploy need not be one that may look.
        return "unchanged"
    return next((app.auth_mode for app in found if app.alias == name), "private")


def deploy(
    client: SyncServerlessClient,
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
        app_ref: ``file.py::App``, ``file.py`` where it has but one, or the name of an
            application in ``pyproject.toml``; None for the only one there.

        app_name: What it is called; otherwise what the declaration says.

        auth: Who may reach it.

        strategy: ``recreate`` ends the runners of the revision before at once.

        reset_scale: Take the scaling of the declaration, in place of what is set.

        force_env_build: Build the environment anew.

        environment_name: The environment of the service.

        attach_to_deployment: Return once a rolling deployment has taken over, or at
            once; None leaves it to the service.

        message: What the revision is about.

        annotations: Texts by names, such as the commit it was made of.

    Raises:
        OptionError: There is no such application, or its declaration is wrong.

        FalServerlessError: The service does not do it.
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


def get_user(client: SyncServerlessClient) -> User:
    """
    Return whose applications *client* deploys.

    Raises:
        FalServerlessError: The service does not tell.
    """
    with client.rest() as rest:
        answer: Mapping[str, Any] = rest.send("GET", "/users/current").json()
    identity = str(answer["user_id"])
    return User(identity.partition("|")[2] or identity, answer["nickname"])


def _name_of(function: IsolatedFunction[..., Any]) -> str:
    name = function.app_name or getattr(function.raw_func, "__name__", None)
    return (name or "application").replace("_", "-")
