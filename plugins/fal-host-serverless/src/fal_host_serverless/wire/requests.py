"""Fields of the requests that run, build and deploy a call, made of its declaration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import AuthMode, Call
from fal_core.conversion import structure
from fal_core.declaring import unstructure_environment
from fal_core.environments import THIS_PYTHON, Environment
from fal_core.errors import OptionError
from fal_core.options import SERVE_PORT, Gateway, HostOptions
from fal_host_serverless.wire.health_checks import health_check
from fal_host_serverless.wire.retry_options import retry_conditions, retry_config

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

    from fal_host_serverless.wire.protocol import isolate_proto

#: Defaults of a function, as those of fal's SDK.
MACHINE_TYPE = "XS"
KEEP_ALIVE = 10
#: Defaults of a class that is served, as those of fal's SDK.
APPLICATION_MACHINE_TYPE = "S"
APPLICATION_KEEP_ALIVE = 60
SCHEDULER = "nomad"
SCHEDULER_OPTIONS = {"storage_region": "us-east"}
#: The default resolver of a served class, and the kinds of environment that have one.
RESOLVER = "uv"
_RESOLVED = ("container", "virtualenv")
METRICS_PORT = 9090
#: Stands between the name of an application and its stage.
SEPARATOR = "--"

#: The fields of scaling that are not named like their option.
SCALING_FIELDS = {"scaling_delay": "scaling_delay_seconds"}
#: The largest number of a field.
_LARGEST = 2**31 - 1


@attrs.frozen
class UploadedFile:
    """A file that the service has, and where the function finds it."""

    hash: str
    relative_path: str


@attrs.frozen(kw_only=True)
class UploadedInputs:
    """
    Files and local requirements of a call, once they have been uploaded.

    Attributes:
        files: The files that travel with the function.

        requirements: All requirements, with URLs in place of local projects. None where
            none is local.

        folder: The folder of the function's own file, relative to that of the files.
    """

    files: tuple[UploadedFile, ...] = ()
    requirements: Any = None
    folder: str | None = None


def check(options: HostOptions, gateway: Gateway) -> None:
    """
    Refuse options that no request can express.

    Raises:
        OptionError: A value has a wrong form, or does not fit its field.
    """
    machine_requirements(options, gateway)
    struct("Option 'metadata'", options.metadata)
    health_check(options.health_check_config)
    retry_conditions(options.skip_retry_conditions)
    retry_config(options.retry_config)


# -- of several requests -------------------------------------------------------------


def environment_fields(
    call: Call, inputs: UploadedInputs, *, forced: bool = True
) -> dict[str, Any]:
    """
    Return the fields of every request that needs the environment of *call*.

    Arguments:
        forced: Whether the option ``force`` is passed on.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    secrets = call.host_options.secrets
    return {
        "environments": [environment(call, requirements=inputs.requirements, forced=forced)],
        "files": [
            isolate_proto.File(hash=each.hash, relative_path=each.relative_path)
            for each in inputs.files
        ],
        # Without the message a function sees the secrets that the account exposes to all.
        "secrets": None if secrets is None else isolate_proto.SecretsConfig(names=secrets),
    }


def run_fields(call: Call, inputs: UploadedInputs, *, forced: bool = True) -> dict[str, Any]:
    """
    Return the fields of every request that leads to runners of *call*.

    Arguments:
        forced: Whether the option ``force`` is passed on.
    """
    options = call.host_options
    return {
        **environment_fields(call, inputs, forced=forced),
        "machine_requirements": machine_requirements(
            options, call.gateway, application=call.application
        ),
        "data_mounts": options.data_mounts or (),
        "health_check_config": health_check(options.health_check_config),
    }


# -- single fields -------------------------------------------------------------------


def full_name(name: str, stage: str | None) -> str:
    """Return the name of an application on its stage."""
    if not stage or stage == "main":
        return name
    return f"{name}{SEPARATOR}{stage}"


def auth_mode(mode: AuthMode | None) -> isolate_proto.ApplicationAuthMode.ValueType | None:
    """
    Return the value of *mode*.

    Raises:
        OptionError: There is no such mode.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    structure(mode, AuthMode | None, "auth")
    return None if mode is None else isolate_proto.ApplicationAuthMode.Value(mode.upper())


def environment(
    call: Call, *, requirements: Any = None, forced: bool = True
) -> isolate_proto.EnvironmentDefinition:
    """
    Return the message of the environment of *call*.

    Arguments:
        requirements: Replace those of the environment.

        forced: Whether the option ``force`` is passed on.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    kind = call.environment.kind
    options = definition(call.environment)
    if call.application and kind in _RESOLVED:
        options.setdefault("resolver", RESOLVER)
    force = bool(options.pop("force", False))
    if requirements is not None:
        options["requirements"] = requirements
    # Code travels, so the Python there is the one here unless another is named.
    options.setdefault("python_version", THIS_PYTHON)
    return isolate_proto.EnvironmentDefinition(
        kind=kind,
        configuration=struct(f"Environment {kind!r}", options),
        force=force and forced,
    )


def definition(environment: Environment) -> dict[str, Any]:
    """Return the options of *environment* as the service takes them."""
    options = environment.definition()
    if options is None:
        options = unstructure_environment(environment)
    return {name: value for name, value in options.items() if name != "kind"}


def machine_types(options: HostOptions, *, application: bool = False) -> list[str]:
    """Return the machine types that *options* name, the preferred one first."""
    default = APPLICATION_MACHINE_TYPE if application else MACHINE_TYPE
    return list(options.machine_names) or [default]


def build_requirements(
    options: HostOptions, *, application: bool = False
) -> isolate_proto.MachineRequirements:
    """
    Return what building an environment needs of a machine.

    Arguments:
        application: Whether a class is served.

    Raises:
        OptionError: A value does not fit its field.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    types = machine_types(options, application=application)
    scheduler, scheduler_options = options._scheduler, options._scheduler_options
    if application:
        scheduler = SCHEDULER if scheduler is None else scheduler
        scheduler_options = (
            SCHEDULER_OPTIONS if scheduler_options is None else scheduler_options
        )
    message = isolate_proto.MachineRequirements(
        machine_type=types[0],
        machine_types=types,
        base_image=options._base_image,
        scheduler=scheduler,
        scheduler_options=struct("Option '_scheduler_options'", scheduler_options),
        valid_regions=options.regions,
    )
    set_whole(message, "num_gpus", options.num_gpus)
    return message


def machine_requirements(
    options: HostOptions, gateway: Gateway, *, application: bool = False
) -> isolate_proto.MachineRequirements:
    """
    Return what running needs of a machine, and how the application scales.

    Arguments:
        application: Whether a class is served.

    Raises:
        OptionError: A value does not fit its field.
    """
    message = build_requirements(options, application=application)
    default = APPLICATION_KEEP_ALIVE if application else KEEP_ALIVE
    values = {
        "keep_alive": default if options.keep_alive is None else options.keep_alive,
        "exposed_port": exposed_port(gateway),
        "metrics_port": metrics_port(options, gateway),
        "max_concurrency": options.max_concurrency,
        "min_concurrency": options.min_concurrency,
        "max_multiplexing": options.max_multiplexing,
        "concurrency_buffer": options.concurrency_buffer,
        "concurrency_buffer_perc": options.concurrency_buffer_perc,
        "scaling_delay": options.scaling_delay,
        "request_timeout": options.request_timeout,
        "request_start_timeout": options.request_start_timeout,
        "startup_timeout": options.startup_timeout,
    }
    for option, value in values.items():
        set_whole(message, option, value)
    return message


def exposed_port(gateway: Gateway) -> int | None:
    """Return the port that the service sends requests to. None for a plain function."""
    if gateway.exposed_port is not None:
        return gateway.exposed_port
    return SERVE_PORT if gateway.serve else None


def metrics_port(options: HostOptions, gateway: Gateway) -> int | None:
    """Return the port that the service reads metrics from. None for a plain function."""
    if options.metrics_port is not None:
        return options.metrics_port
    return METRICS_PORT if exposed_port(gateway) is not None else None


def set_whole(message: Any, option: str, value: float | None) -> None:
    """
    Set the whole number of *option*, rounded up, unless *value* is None.

    Raises:
        OptionError: It does not fit the field.
    """
    if value is None:
        return
    try:
        setattr(message, SCALING_FIELDS.get(option, option), math.ceil(value))
    except (ValueError, OverflowError) as error:
        raise OptionError(
            f"Option {option!r} is {value!r}, and the service accepts at most {_LARGEST}."
        ) from error


def struct(what: str, content: Mapping[str, Any] | None) -> Struct:
    """
    Return *content*, which consists of JSON values, as a message.

    Arguments:
        what: Names the content in the error.

    Raises:
        OptionError: *content* has something else.
    """
    from google.protobuf.struct_pb2 import Struct

    message = Struct()
    try:
        message.update(dict(content or {}))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{what} cannot be sent as JSON: {error}. Use only texts, numbers, booleans, None, "
            "lists, and mappings with texts as keys."
        ) from error
    return message
