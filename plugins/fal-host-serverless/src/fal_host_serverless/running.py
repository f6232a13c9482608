"""
Running: the request that a call becomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.calls import Call
from fal_core.options import SERVE_PORT
from fal_host_serverless import envelopes, requests
from fal_host_serverless.preparations import Preparation

if TYPE_CHECKING:
    import isolate_proto

    from fal_host_serverless.hosts import FalServerlessHost


def application_name(host: FalServerlessHost, call: Call) -> str:
    """
    Return what the service calls the application that *call* is for a while.
    """
    return requests.full_name(call.application_name or call.name, host.environment)


def with_ports(call: Call) -> Call:
    """
    Return *call* with the ports that its service takes, if it is one.
    """
    return call.at_ports(SERVE_PORT, requests.METRICS_PORT) if call.gateway.serve else call


def run_request(
    host: FalServerlessHost, call: Call, prepared: Preparation, *, lean: bool = False
) -> isolate_proto.HostedRun:
    """
    Return the request that runs *call*; what travels beside it is *prepared*.

    Arguments:
        lean: Leave out sources that the runner is thought to have.
    """
    message = _request(host, call, prepared)
    message.function.method = "cloudpickle"
    message.function.definition = envelopes.seal(
        with_ports(call),
        folder=prepared.folder,
        current_folder=call.environment.kind == "container",
        lean=lean,
    )
    return message


def metadata_request(
    host: FalServerlessHost, call: Call, prepared: Preparation, entry_point: str
) -> isolate_proto.HostedRun:
    """
    Return the request that asks *entry_point* for its metadata where *call* will run.
    """
    message = _request(host, call, prepared, forced=False)
    message.entrypoint = entry_point
    message.build_environment = False
    return message


def _request(
    host: FalServerlessHost, call: Call, prepared: Preparation, *, forced: bool = True
) -> isolate_proto.HostedRun:
    import isolate_proto

    options = call.host_options
    message = isolate_proto.HostedRun(
        environments=[
            requests.environment(call, requirements=prepared.requirements, forced=forced)
        ],
        machine_requirements=requests.machine_requirements(
            call.host_options, call.gateway, application=call.application
        ),
        files=requests.files(prepared.files),
        application_name=application_name(host, call),
        auth_mode=requests.auth_mode(call.application_auth_mode or "public"),
        secrets=requests.secrets(options.secrets),
        data_mounts=options.data_mounts or (),
        health_check_config=requests.health_check(options.health_check_config),
    )
    if host.environment is not None:
        message.environment_name = host.environment
    return message
