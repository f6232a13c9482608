"""Requests of the method ``Run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fal_core.calls import Call
from fal_core.options import SERVE_PORT
from fal_host_serverless.running import pickled_calls
from fal_host_serverless.wire import requests
from fal_host_serverless.wire.requests import UploadedInputs
from fal_host_serverless.wire.services import Service

if TYPE_CHECKING:
    from fal_host_serverless.wire.protocol import isolate_proto


def with_ports(call: Call) -> Call:
    """Return *call* with the ports that its service listens at, if it is one."""
    return call.at_ports(SERVE_PORT, requests.METRICS_PORT) if call.gateway.serve else call


def run_request(
    service: Service, call: Call, inputs: UploadedInputs, *, lean: bool = False
) -> isolate_proto.HostedRun:
    """
    Return the request that runs *call*.

    Arguments:
        lean: Leave out archives that the runner is thought to have.
    """
    message = _request(service, call, inputs)
    set_function(message, with_ports(call), inputs, lean=lean)
    return message


def metadata_request(
    service: Service, call: Call, inputs: UploadedInputs, entry_point: str
) -> isolate_proto.HostedRun:
    """Return the request that runs *entry_point* in the environment of *call*, already built."""
    message = _request(service, call, inputs, forced=False)
    message.entrypoint = entry_point
    message.build_environment = False
    return message


def set_function(message: Any, call: Call, inputs: UploadedInputs, **how: bool) -> None:
    """
    Make *message* carry the pickle of *call*.

    Arguments:
        how: The options ``followed`` and ``lean`` of :func:`pickled_calls.seal`.
    """
    message.function.method = "cloudpickle"
    message.function.definition = pickled_calls.seal(
        call,
        folder=inputs.folder,
        current_folder=call.environment.kind == "container",
        **how,
    )


def _request(
    service: Service, call: Call, inputs: UploadedInputs, *, forced: bool = True
) -> isolate_proto.HostedRun:
    from fal_host_serverless.wire.protocol import isolate_proto

    return isolate_proto.HostedRun(
        **requests.run_fields(call, inputs, forced=forced),
        application_name=requests.full_name(call.application_name or call.name, service.stage),
        auth_mode=requests.auth_mode(call.application_auth_mode or "public"),
        environment_name=service.stage,
    )
