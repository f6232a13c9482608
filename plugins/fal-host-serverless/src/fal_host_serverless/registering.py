"""
Registering: a function becomes a revision of an application.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calling.serving import Server
from fal_core.calls import AuthMode, Call
from fal_core.declaring.vocabulary import structure_gateway
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_core.events import LogSink
from fal_core.functions import IsolatedFunction
from fal_core.options import Options
from fal_host_serverless import channels, envelopes, messages, requests, values
from fal_host_serverless.arguments import WrongArgument
from fal_host_serverless.containers import Container
from fal_host_serverless.failures import translated
from fal_host_serverless.preparations import Preparation
from fal_host_serverless.running import with_ports

if TYPE_CHECKING:
    import isolate_proto

    from fal_host_serverless.hosts import DeploymentStrategy, FalServerlessHost


@attrs.frozen(kw_only=True)
class Registration:
    """
    What a deployment says beside what is deployed.

    Attributes:
        entry_point: What the environment brings in place of a function that is sent.
    """

    application_name: str | None = None
    auth_mode: AuthMode | None = None
    source_code: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    strategy: DeploymentStrategy = "rolling"
    scale: bool = True
    environment_name: str | None = None
    build_environment: bool | None = None
    entry_point: str | None = None
    attach_to_deployment: bool | None = None

    def __attrs_post_init__(self) -> None:
        check_attached(self.attach_to_deployment, self.strategy)


def check_attached(attach: bool | None, strategy: str) -> None:
    """
    Check that a deployment of *strategy* can be waited for, where that is said.

    Raises:
        WrongArgument: It cannot.
    """
    if attach is not None and strategy != "rolling":
        raise WrongArgument(
            "Only a rolling deployment can be attached to, or detached from. Name the "
            f"strategy 'rolling' in place of {strategy!r}, or leave it to the service."
        )


def describe(func: Callable[..., Any], options: Options) -> dict[str, Any]:
    """
    Return what a revision of *func* carries beside its code: its OpenAPI document.
    """
    served: Any = func
    if isinstance(served, IsolatedFunction):
        served = served.raw_func
    if isinstance(served, Server):
        served = served.func
    if callable(getattr(served, "build_metadata", None)):
        return dict(served.build_metadata())
    if not structure_gateway(options).serve:
        return {}
    try:
        from fal_serve.servables import make_servable
    except ImportError:
        # Another plugin serves it, and only that one knows its routes.
        return {}
    return {"openapi": make_servable(served).openapi()}


def sealed(host: FalServerlessHost, func: Callable[..., Any], options: Options) -> Call:
    """
    Return *func* as the call that a runner makes.

    Raises:
        WrongArgument: It needs arguments, and none come with that call.
    """
    function = (
        func if isinstance(func, IsolatedFunction) else IsolatedFunction(host, func, options)
    )
    call = function.make_launcher().call(((), {}))
    if inspect.isfunction(function.raw_func) and not call.gateway.serve:
        _check_callable(function.raw_func, () if call.setup is None else (None,))
    return with_ports(call)


def _check_callable(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """
    Check that *function* can be called with as many *arguments*.
    """
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        given = "with what its setup_function returns" if arguments else "without any"
        raise WrongArgument(
            f"Function {function.__name__!r} cannot be deployed: {error}. Its runner calls it "
            f"{given}, and it listens at its port itself; with 'serve=True' each request "
            "brings its arguments."
        ) from error


def register(
    host: FalServerlessHost,
    call: Call,
    prepared: Preparation,
    registration: Registration,
    log: LogSink,
) -> values.RegisterApplicationResult | None:
    """
    Deploy *call*; what travels beside it is *prepared*.

    Raises:
        FalServerlessError: The service does not do it.
    """
    request = register_request(call, prepared, registration)
    stub = channels.stub(host.address)
    metadata = [*host.caller.metadata(), channels.ANNOUNCEMENT]
    sent = stub.RegisterApplication(request, metadata=metadata)
    with translated(host.address), channels.streaming(sent) as stream:
        for message in stream:
            logs = [
                each for each in messages.read_logs(message.logs) if messages.is_wanted(each)
            ]
            for each in logs:
                log(each)
            if message.HasField("result"):
                urls = message.service_urls if message.HasField("service_urls") else None
                return values.RegisterApplicationResult(
                    values.Revision(message.result.application_id),
                    logs,
                    None if urls is None else values.read_urls(urls),
                )
    return None


def register_request(
    call: Call, prepared: Preparation, registration: Registration
) -> isolate_proto.RegisterApplicationRequest:
    """
    Return the request that deploys *call*.
    """
    import isolate_proto

    options = call.host_options
    strategy = registration.strategy.upper()
    if strategy not in ("RECREATE", "ROLLING"):
        raise FalServerlessError(
            f"A deployment is 'recreate' or 'rolling', not {registration.strategy!r}."
        )
    message = isolate_proto.RegisterApplicationRequest(
        environments=[
            requests.environment(
                call,
                requirements=prepared.requirements,
                forced=registration.build_environment is not False,
            )
        ],
        machine_requirements=requests.machine_requirements(
            call.host_options, call.gateway, application=call.application
        ),
        files=requests.files(prepared.files),
        auth_mode=requests.auth_mode(registration.auth_mode),
        deployment_strategy=isolate_proto.DeploymentStrategy.Value(strategy),
        scale=registration.scale,
        secrets=requests.secrets(options.secrets),
        data_mounts=options.data_mounts or (),
        health_check_config=requests.health_check(options.health_check_config),
        skip_retry_conditions=requests.retry_conditions(options.skip_retry_conditions),
        retry_config=requests.retry_config(options.retry_config),
        source_code=registration.source_code,
        environment_name=registration.environment_name,
        private_logs=options.private_logs,
        build_environment=registration.build_environment,
        attach_to_deployment=registration.attach_to_deployment,
    )
    if registration.application_name:
        message.application_name = requests.full_name(
            registration.application_name, registration.environment_name
        )
    requests.set_whole(
        message, "termination_grace_period_seconds", options.termination_grace_period_seconds
    )
    metadata = {**registration.metadata, **(options.metadata or {})}
    if metadata:
        message.metadata.CopyFrom(requests.struct("Option 'metadata'", metadata))
    if isinstance(call.environment, Container) and call.environment.runs_itself:
        if options.metrics_port is None:
            message.machine_requirements.ClearField("metrics_port")
        return message
    if registration.entry_point is not None:
        message.entrypoint = registration.entry_point
        return message
    message.function.method = "cloudpickle"
    message.function.definition = envelopes.seal(
        call,
        folder=prepared.folder,
        current_folder=call.environment.kind == "container",
        attended=False,
    )
    return message


def build(
    host: FalServerlessHost,
    call: Call,
    prepared: Preparation,
    registration: Registration,
    log: LogSink,
) -> None:
    """
    Have the service build the environment of *call*, and wait until it has.

    Raises:
        FalServerlessError: It cannot be built.
    """
    import isolate_proto

    options, environment_name = call.host_options, registration.environment_name
    request = isolate_proto.BuildEnvironmentRequest(
        environments=[requests.environment(call, requirements=prepared.requirements)],
        machine_requirements=requests.build_requirements(
            call.host_options, application=call.application
        ),
        files=requests.files(prepared.files),
        environment_name=environment_name,
        secrets=requests.secrets(options.secrets),
    )
    if registration.application_name:
        request.application_name = requests.full_name(
            registration.application_name, environment_name
        )
    stub = channels.stub(host.address)
    sent = stub.BuildEnvironment(request, metadata=host.caller.metadata())
    with translated(host.address), channels.streaming(sent) as stream:
        for message in stream:
            for each in messages.read_logs(message.logs):
                if messages.is_wanted(each):
                    log(each)
            state = message.status.state if message.HasField("status") else 0
            if state == messages.SUCCEEDED:
                return
            if state == messages.FAILED:
                raise InternalFalServerlessError(
                    "The service failed while it built the environment."
                )
    raise InternalFalServerlessError("The service did not say that it built the environment.")
