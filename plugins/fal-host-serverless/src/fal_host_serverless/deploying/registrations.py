"""Registrations: the requests that build the environment of a call and deploy it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from fal_core.calls import AuthMode, Call
from fal_core.conversion import structure
from fal_core.errors import InternalFalServerlessError
from fal_core.events import LogSink
from fal_core.functions import IsolatedFunction
from fal_core_worker.annotations import signature_of
from fal_host_serverless.deploying.containers import ServiceContainer
from fal_host_serverless.errors import WrongArgument
from fal_host_serverless.running.run_requests import set_function, with_ports
from fal_host_serverless.values import (
    DeploymentStrategy,
    RegisterApplicationResult,
    Revision,
)
from fal_host_serverless.wire import messages, requests, streams
from fal_host_serverless.wire.answers import read_service_urls
from fal_host_serverless.wire.requests import UploadedInputs
from fal_host_serverless.wire.retry_options import retry_conditions, retry_config
from fal_host_serverless.wire.services import Service

if TYPE_CHECKING:
    from fal_host_serverless.wire.protocol import isolate_proto


@attrs.frozen(kw_only=True)
class Registration:
    """
    The settings of a deployment, apart from the function and its options.

    Attributes:
        source_code: The text that the service shows as the source of the revision.

        metadata: What the revision carries beside its code.

        scale: Whether the declared scaling replaces the application's current one.

        build_environment: False if the environment has been built.

        entry_point: What the service runs from the environment, in place of a function.

        attach_to_deployment: Whether the service answers only once a rolling deployment
            has taken over; None leaves that to the service.

    Raises:
        OptionError: There is no such strategy, or no such way to authorise callers.

        WrongArgument: *attach_to_deployment* is given with another strategy.
    """

    application_name: str | None = None
    auth_mode: AuthMode | None = None
    source_code: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    strategy: DeploymentStrategy = "rolling"
    scale: bool = True
    build_environment: bool | None = None
    entry_point: str | None = None
    attach_to_deployment: bool | None = None

    def __attrs_post_init__(self) -> None:
        structure(self.auth_mode, AuthMode | None, "auth")
        structure(self.strategy, DeploymentStrategy, "strategy")
        check_attached(self.attach_to_deployment, self.strategy)


@attrs.define
class Progress:
    """
    How far a deployment is.

    Attributes:
        step: ``begun`` until it is sent to the service, ``sent`` from then on, ``accepted``
            once the service has said that it goes on with it.

        metadata: What the revision carries beside its code, once that is known.
    """

    step: Literal["begun", "sent", "accepted"] = "begun"
    metadata: Mapping[str, Any] = attrs.field(factory=dict)


def check_attached(attach: bool | None, strategy: str) -> None:
    """
    Check that *attach* is given for a rolling deployment alone.

    Raises:
        WrongArgument: It is given for another one.
    """
    if attach is not None and strategy != "rolling":
        raise WrongArgument(
            "Only a rolling deployment can be attached to, or detached from. Name the "
            f"strategy 'rolling' in place of {strategy!r}, or leave it to the service."
        )


def describe(function: IsolatedFunction[..., Any]) -> dict[str, Any]:
    """
    Return what a revision of *function* carries beside its code, such as its OpenAPI document.

    A class that is served has a method ``build_metadata`` for that, and so may the server
    that a plugin makes of a function.
    """
    for described in (function.raw_func, function.func):
        build = getattr(described, "build_metadata", None)
        if callable(build):
            return dict(build())
    return {}


def seal(function: IsolatedFunction[..., Any]) -> Call:
    """
    Return the call of *function* that a runner makes, which has no arguments.

    Raises:
        WrongArgument: The function needs arguments.
    """
    call = function.make_launcher().call(((), {}))
    if inspect.isfunction(function.raw_func) and not call.gateway.serve:
        _check_callable(function.raw_func, () if call.setup is None else (None,))
    return with_ports(call)


def _check_callable(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Check that *function* can be called with exactly *arguments*."""
    try:
        signature_of(function).bind(*arguments)
    except TypeError as error:
        given = "with the result of its setup_function" if arguments else "without arguments"
        raise WrongArgument(
            f"Function {function.__name__!r} cannot be deployed: {error}. Its runner calls it "
            f"{given}, and it has to listen at its port itself; with 'serve=True' each "
            "request brings the arguments."
        ) from error


def register(
    service: Service,
    call: Call,
    inputs: UploadedInputs,
    registration: Registration,
    log: LogSink,
    progress: Progress | None = None,
) -> RegisterApplicationResult | None:
    """
    Deploy *call*. None if the service ended the stream without a result.

    Arguments:
        progress: Is told how far the deployment is.

    Raises:
        FalServerlessError: The service refused the deployment, or it failed.
    """
    request = register_request(service, call, inputs, registration)
    progress = progress or Progress()
    progress.step = "sent"
    with streams.following(
        service, "RegisterApplication", request, log, announced=True
    ) as stream:
        for message in stream:
            if message.HasField("result"):
                urls = message.service_urls if message.HasField("service_urls") else None
                return RegisterApplicationResult(
                    Revision(message.result.application_id),
                    [*messages.wanted_logs(message.logs)],
                    None if urls is None else read_service_urls(urls),
                )
            if message.HasField("env_id"):
                progress.step = "accepted"
    return None


def register_request(
    service: Service, call: Call, inputs: UploadedInputs, registration: Registration
) -> isolate_proto.RegisterApplicationRequest:
    """Return the request that deploys *call*."""
    from fal_host_serverless.wire.protocol import isolate_proto

    options = call.host_options
    strategy = registration.strategy.upper()
    forced = registration.build_environment is not False
    message = isolate_proto.RegisterApplicationRequest(
        **requests.run_fields(call, inputs, forced=forced),
        **_name_fields(service, registration),
        auth_mode=requests.auth_mode(registration.auth_mode),
        deployment_strategy=isolate_proto.DeploymentStrategy.Value(strategy),
        scale=registration.scale,
        skip_retry_conditions=retry_conditions(options.skip_retry_conditions),
        retry_config=retry_config(options.retry_config),
        source_code=registration.source_code,
        private_logs=options.private_logs,
        build_environment=registration.build_environment,
        attach_to_deployment=registration.attach_to_deployment,
    )
    requests.set_whole(
        message, "termination_grace_period_seconds", options.termination_grace_period_seconds
    )
    metadata = {**registration.metadata, **(options.metadata or {})}
    if metadata:
        message.metadata.CopyFrom(requests.struct("Option 'metadata'", metadata))
    if isinstance(call.environment, ServiceContainer) and call.environment.runs_itself:
        if options.metrics_port is None:
            message.machine_requirements.ClearField("metrics_port")
    elif registration.entry_point is not None:
        message.entrypoint = registration.entry_point
    else:
        set_function(message, call, inputs, followed=False)
    return message


def build(
    service: Service,
    call: Call,
    inputs: UploadedInputs,
    registration: Registration,
    log: LogSink,
) -> None:
    """
    Have the service build the environment of *call*, and wait until it is built.

    Raises:
        FalServerlessError: The build failed.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    request = isolate_proto.BuildEnvironmentRequest(
        **requests.environment_fields(call, inputs),
        **_name_fields(service, registration),
        machine_requirements=requests.build_requirements(
            call.host_options, application=call.application
        ),
    )
    with streams.following(service, "BuildEnvironment", request, log) as stream:
        for message in stream:
            state = message.status.state if message.HasField("status") else 0
            if state == messages.SUCCEEDED:
                return
            if state == messages.FAILED:
                raise InternalFalServerlessError(
                    "The service failed while it built the environment."
                )
    raise InternalFalServerlessError(
        "The service did not confirm that it built the environment."
    )


def _name_fields(service: Service, registration: Registration) -> dict[str, Any]:
    name = registration.application_name
    return {
        "application_name": requests.full_name(name, service.stage) if name else None,
        "environment_name": service.stage,
    }
