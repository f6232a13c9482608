"""
Entry points: applications that their environment brings, so that no code is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fal_core.calls import AuthMode, Call, SealedFunction
from fal_core.declaring.vocabulary import (
    structure_environment,
    structure_gateway,
    structure_host_options,
)
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_core.events import LogSink, Sealed
from fal_core.functions import IsolatedFunction
from fal_core.options import SERVE_PORT
from fal_host_serverless import channels, envelopes, messages
from fal_host_serverless.containers import Container
from fal_host_serverless.failures import translated
from fal_host_serverless.preparations import Preparation
from fal_host_serverless.running import metadata_request

if TYPE_CHECKING:
    from fal_host_serverless.hosts import FalServerlessHost

#: What the service calls of what an entry point names.
_SERVES, _DESCRIBES = "run_local", "build_metadata"
#: Options that a container has of those of its image's side.
_OF_CONTAINERS = ("requirements", "python_version", "resolver")


def declare(
    host: FalServerlessHost,
    name: str,
    *,
    options: Mapping[str, Any],
    image: Mapping[str, Any] | None = None,
    auth: AuthMode | None = None,
    entry_point: str | None = None,
) -> tuple[IsolatedFunction[..., Any], Call]:
    """
    Return the application *name* as a function without code, and the call of it.

    Arguments:
        image: What it runs in, where that is a container.

        entry_point: Where it is, as in ``package.module:App``. None where the image
            serves by its own command.

    Raises:
        OptionError: An option is wrong.
    """
    written = dict(options)
    if entry_point is not None:
        written.setdefault("exposed_port", SERVE_PORT)
    parsed = host.parse_options(**written)
    environment = structure_environment(parsed)
    if image is not None:
        known = {key: parsed.environment.get(key) for key in _OF_CONTAINERS}
        alone = {"use_isolate": False} if entry_point is None else {}
        environment = Container(
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


def served(entry_point: str) -> str:
    """
    Return what the service runs for *entry_point*.
    """
    return f"{entry_point}.{_SERVES}"


def describe(
    host: FalServerlessHost,
    call: Call,
    prepared: Preparation,
    entry_point: str,
    log: LogSink,
) -> dict[str, Any]:
    """
    Return what *entry_point* says of itself, in its environment, which has been built.

    Raises:
        FalServerlessError: It cannot be asked, or is no application.
    """
    where = f"{entry_point}.{_DESCRIBES}"
    request = metadata_request(host, call, prepared, where)
    value: Any = None
    sent = channels.stub(host.address).Run(request, metadata=host.caller.metadata())
    with translated(host.address), channels.streaming(sent) as stream:
        for message in stream:
            for each in messages.read_logs(message.logs):
                if messages.is_wanted(each):
                    log(each)
            if message.HasField("return_value") and message.return_value.definition:
                value = message.return_value
            if message.status.state == messages.FAILED:
                raise InternalFalServerlessError(f"The service failed while it ran {where}.")
    if value is None:
        raise InternalFalServerlessError(f"The service did not say what {where} returned.")
    if value.was_it_raised:
        name = value.exception_type_name or "an exception"
        text = value.exception_message or value.stringized_traceback
        raise FalServerlessError(f"{where} raised {name}: {text}")
    try:
        told = envelopes.open_plain(value.definition)
    except Exception as error:
        raise FalServerlessError(f"What {where} returned is refused: {error}") from error
    if not isinstance(told, dict):
        raise FalServerlessError(
            f"{where} returned no dictionary. An entry point names an application, as an "
            "App of fal is."
        )
    return told
