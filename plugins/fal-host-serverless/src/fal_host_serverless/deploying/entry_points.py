"""Entry points: applications that come with their environment, so that no code is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fal_core.calls import AuthMode, Call, SealedFunction
from fal_core.declaring import (
    check_machine_types,
    structure_environment,
    structure_gateway,
    structure_host_options,
)
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_core.events import LogSink, Sealed
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Host
from fal_core.options import SERVE_PORT
from fal_core.sealing import load_plain
from fal_host_serverless.deploying.containers import ServiceContainer
from fal_host_serverless.running.run_requests import metadata_request
from fal_host_serverless.wire import messages, streams
from fal_host_serverless.wire.requests import UploadedInputs
from fal_host_serverless.wire.services import Service

#: The methods of an entry point that serve it and that return its metadata.
_SERVES, _DESCRIBES = "run_local", "build_metadata"
#: Options of other environments that a container takes as well.
_OF_CONTAINERS = ("requirements", "python_version", "resolver")


def declare(
    host: Host[..., Any],
    name: str,
    *,
    options: Mapping[str, Any],
    image: Mapping[str, Any] | None = None,
    auth: AuthMode | None = None,
    entry_point: str | None = None,
) -> tuple[IsolatedFunction[..., Any], Call]:
    """
    Return the application *name* as a function without code, and its call.

    Arguments:
        image: The image that it runs in, if any.

        entry_point: Where it is, as in ``package.module:App``. None if the image serves
            by its own command.

    Raises:
        OptionError: An option is wrong.
    """
    written = dict(options)
    if entry_point is not None:
        written.setdefault("exposed_port", SERVE_PORT)
    parsed = host.parse_options(**written)
    check_machine_types(parsed, host)
    environment = structure_environment(parsed)
    if image is not None:
        known = {key: parsed.environment.get(key) for key in _OF_CONTAINERS}
        alone = {"use_isolate": False} if entry_point is None else {}
        environment = ServiceContainer(
            image={**image, **alone}, force=bool(parsed.environment.get("force")), **known
        )
    function: IsolatedFunction[..., Any] = IsolatedFunction(
        host, None, parsed, app_name=name, app_auth=auth
    )
    nothing = Sealed(b"")
    call = Call(
        id="",
        name=name,
        function=SealedFunction(digest="", native=nothing),
        arguments=nothing,
        environment=environment,
        host_options=structure_host_options(parsed, host),
        gateway=structure_gateway(parsed),
        application_name=name,
    )
    return function, call


def method_to_serve(entry_point: str) -> str:
    """Return the method that the service runs for *entry_point*."""
    return f"{entry_point}.{_SERVES}"


def ask_metadata(
    service: Service,
    call: Call,
    inputs: UploadedInputs,
    entry_point: str,
    log: LogSink,
) -> dict[str, Any]:
    """
    Return the metadata of *entry_point*, by a run in its environment, which has been built.

    Raises:
        FalServerlessError: The run failed, or *entry_point* is no application.
    """
    method = f"{entry_point}.{_DESCRIBES}"
    request = metadata_request(service, call, inputs, method)
    value: Any = None
    with streams.following(service, "Run", request, log) as stream:
        for message in stream:
            if message.HasField("return_value") and message.return_value.definition:
                value = message.return_value
            if message.status.state == messages.FAILED:
                raise InternalFalServerlessError(f"The service failed while it ran {method}.")
    if value is None:
        raise InternalFalServerlessError(f"The service sent no result of {method}.")
    if value.was_it_raised:
        name = value.exception_type_name or "an exception"
        text = value.exception_message or value.stringized_traceback
        raise FalServerlessError(f"{method} raised {name}: {text}")
    try:
        metadata = load_plain(value.definition)
    except Exception as error:
        raise FalServerlessError(f"The result of {method} is refused: {error}") from error
    if not isinstance(metadata, dict):
        raise FalServerlessError(
            f"{method} returned no dictionary. An entry point names an application, as an "
            "App of fal is."
        )
    return metadata
