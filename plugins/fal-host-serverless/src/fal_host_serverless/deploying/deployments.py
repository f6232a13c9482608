"""Deployments, planned without a request and then carried out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import AuthMode, Call
from fal_core.conversion import structure
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_core.events import LogSink
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Host
from fal_core.sinks import print_log
from fal_host_serverless.account import applications, operations
from fal_host_serverless.deploying import app_references, entry_points, registrations
from fal_host_serverless.deploying.openapi_documents import realtime_paths
from fal_host_serverless.deploying.projects import DeclaredApp
from fal_host_serverless.deploying.registrations import Progress
from fal_host_serverless.uploading import inputs
from fal_host_serverless.uploading.local_files import LocalFile
from fal_host_serverless.values import DeploymentStrategy, ServiceURLs
from fal_host_serverless.wire import requests
from fal_host_serverless.wire.failures import has_lost_service
from fal_host_serverless.wire.services import Service

if TYPE_CHECKING:
    from fal_host_serverless.uploading.distributions import Distribution


@attrs.define
class DeploymentResult:
    """
    A deployed revision and its URLs.

    Attributes:
        urls: The URLs by their use (``playground``, ``sync``, ``async``, and ``realtime``
            where there are such endpoints), and by path.

        auth_mode: Who may call it; ``unchanged`` if the credentials may deploy, but not
            look that up.

        log_url: The page with its logs.
    """

    revision: str
    app_name: str
    urls: dict[str, dict[str, str]]
    log_url: str
    auth_mode: str


@attrs.frozen(kw_only=True, eq=False)
class Deployment:
    """
    A planned deployment.

    Attributes:
        team: The team that a login acts for.

        attach: Whether to wait until a rolling deployment has taken over; None leaves
            that to the service.

        notes: The message and the annotations of the revision.

        entry_point: What the environment brings in place of the function.
    """

    service: Service
    function: IsolatedFunction[..., Any]
    call: Call
    app_name: str
    auth: AuthMode | None
    strategy: DeploymentStrategy
    reset_scale: bool
    team: str | None
    attach: bool | None = None
    notes: Mapping[str, Any] = attrs.field(factory=dict)
    entry_point: str | None = None

    @property
    def files(self) -> list[LocalFile]:
        """The files of this machine that travel."""
        return inputs.local_files(self.service.local_file_path, self.call)

    @property
    def sources(self) -> dict[Path, Distribution]:
        """The projects of this machine that travel, packed."""
        return inputs.local_sources(self.service.local_file_path, self.call)

    @property
    def endpoints(self) -> list[str]:
        """The paths that answer requests."""
        served = self.function.raw_func
        find = getattr(served, "get_endpoints", None)
        return list(find()) if callable(find) else ["/"]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the revision carries beside its code."""
        # A type checker takes a field that has __get__ for a method.
        function: Any = self.function
        # An application of its environment is asked once that has been built.
        described = {} if function.raw_func is None else registrations.describe(function)
        return {**described, **self.notes}

    @property
    def source_code(self) -> str | None:
        """The text of the deployed file."""
        path = Path(self.service.local_file_path)
        return path.read_text("utf-8") if path.is_file() else None


def plan(
    host: Host[..., Any],
    service: Service,
    declared: DeclaredApp,
    *,
    app_name: str | None = None,
    auth: AuthMode | None = None,
    strategy: DeploymentStrategy | None = None,
    reset_scale: bool | None = None,
    force_env_build: bool = False,
    team: str | None = None,
    attach: bool | None = None,
    notes: Mapping[str, Any],
) -> Deployment:
    """
    Return the deployment of *declared*; no request is sent.

    Arguments:
        host: The host at *service*, which the function is declared for.

    Raises:
        OptionError: There is no such application, or its declaration is wrong.
    """
    structure(auth, AuthMode | None, "auth")
    structure(strategy, DeploymentStrategy | None, "strategy")
    strategy = strategy or declared.strategy or "rolling"
    registrations.check_attached(attach, strategy)
    options: dict[str, Any] = dict(declared.options)
    if force_env_build:
        options["force"] = True
    if declared.ref is None:
        function, call = entry_points.declare(
            host,
            app_name or declared.name,
            options=options,
            image=declared.image,
            entry_point=declared.entry_point,
        )
    else:
        with app_references.ALONE:
            function = app_references.load(declared.ref).on(host, **options)
            call = registrations.seal(function)
    return Deployment(
        service=service,
        function=function,
        call=call,
        app_name=app_name or declared.name or _name_of(function),
        auth=auth or declared.auth or function.app_auth,
        strategy=strategy,
        reset_scale=bool(declared.reset_scale if reset_scale is None else reset_scale),
        team=team,
        attach=attach,
        notes=notes,
        entry_point=declared.entry_point,
    )


def execute(
    deployment: Deployment,
    *,
    log: LogSink = print_log,
    progress: Progress | None = None,
) -> DeploymentResult:
    """
    Build the environment, and deploy.

    Arguments:
        progress: Is told how far the deployment is.

    Raises:
        FalServerlessError: The service refused the deployment, or it failed.
    """
    service, call = deployment.service, deployment.call
    registration = registrations.Registration(
        application_name=deployment.app_name,
        auth_mode=deployment.auth,
        source_code=deployment.source_code,
        metadata=deployment.metadata,
        strategy=deployment.strategy,
        scale=deployment.reset_scale,
        build_environment=False,
        attach_to_deployment=deployment.attach,
    )
    # Uploaded once, so that the environment that was built is the one that is registered.
    uploaded = inputs.upload(service, call, log)
    registrations.build(service, call, uploaded, registration, log)
    paths = deployment.endpoints
    if deployment.entry_point is not None:
        metadata = entry_points.ask_metadata(
            service, call, uploaded, deployment.entry_point, log
        )
        paths = [*metadata.get("openapi", {}).get("paths", ())] or paths
        registration = attrs.evolve(
            registration,
            metadata={**metadata, **registration.metadata},
            entry_point=entry_points.method_to_serve(deployment.entry_point),
        )
    progress = progress or Progress()
    progress.metadata = registration.metadata
    try:
        result = registrations.register(service, call, uploaded, registration, log, progress)
    except FalServerlessError as error:
        if not has_lost_service(error):
            raise
        told = describe_interruption(deployment, progress)
        raise FalServerlessError(f"{error} {told}") from error
    if result is None or result.result is None or result.service_urls is None:
        raise FalServerlessError(
            "The service did not confirm the deployment; its log says why. A name of "
            "lower-case letters, digits and hyphens is always allowed."
        )
    return DeploymentResult(
        revision=result.result.application_id,
        app_name=deployment.app_name,
        urls=_urls_of(result.service_urls, paths, realtime_paths(registration.metadata)),
        log_url=result.service_urls.log,
        auth_mode=deployment.auth or _current_auth(deployment),
    )


def _urls_of(
    urls: ServiceURLs, paths: Sequence[str], realtime: Collection[str]
) -> dict[str, dict[str, str]]:
    """
    Return the URLs of an application by their use and by path. Only those that are websockets
    are there where some are.
    """
    posted = [path for path in paths if path not in realtime]
    found = {
        "playground": {path: f"{urls.playground}{path}" for path in paths},
        "sync": {path: f"{urls.run}{path}" for path in posted},
        "async": {path: f"{urls.queue}{path}" for path in posted},
    }
    if realtime:
        base = urls.run.replace("http", "ws", 1)
        found["realtime"] = {path: f"{base}{path}" for path in paths if path in realtime}
    return found


def describe_interruption(deployment: Deployment, progress: Progress) -> str:
    """Return what becomes of a deployment that its client does not wait for any longer."""
    if progress.step == "begun":
        return "Nothing was deployed."
    service, name = deployment.service, deployment.app_name
    place = f"{name} --env {service.stage}" if service.stage else name
    goes_on = "goes on with" if progress.step == "accepted" else "may go on with"
    until = ""
    if progress.step == "accepted":
        until = (
            " The revision takes the requests once a runner of it has come up, and until then "
            "the previous one does, if there is one."
        )
    return (
        f"The service {goes_on} the deployment of {name}.{until} 'fal-core apps list' shows "
        f"the revision that serves, and 'fal-core apps runners {place}' the runners: "
        "'fal-core runners kill ID' ends that of the deployment, and the deployment with it."
    )


def _current_auth(deployment: Deployment) -> str:
    """Return the authentication mode of the application, which the deployment did not set."""
    service = deployment.service
    name = requests.full_name(deployment.app_name, service.stage)
    try:
        found = operations.perform(service, applications.list_apps(None, service.stage))
    except (FalServerlessError, InternalFalServerlessError):
        # A key may have the permission to deploy, and not to list.
        return "unchanged"
    return next((app.auth_mode for app in found if app.alias == name), "private")


def _name_of(function: IsolatedFunction[..., Any]) -> str:
    name = function.app_name or getattr(function.raw_func, "__name__", None)
    return (name or "application").replace("_", "-")
