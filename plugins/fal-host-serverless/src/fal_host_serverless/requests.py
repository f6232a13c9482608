"""
Requests: the messages that a declaration becomes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import AuthMode, Call
from fal_core.declaring.vocabulary import unstructure_environment
from fal_core.errors import OptionError
from fal_core.options import SERVE_PORT, Gateway, HostOptions

if TYPE_CHECKING:
    import isolate_proto
    from google.protobuf.struct_pb2 import Struct

#: What the service is asked for where nothing is declared.
MACHINE_TYPE = "XS"
KEEP_ALIVE = 10
#: The same for a class that is served.
APPLICATION_MACHINE_TYPE = "S"
APPLICATION_KEEP_ALIVE = 60
SCHEDULER = "nomad"
SCHEDULER_OPTIONS = {"storage_region": "us-east"}
#: What installs its requirements, in an environment of a kind that has a choice.
RESOLVER = "uv"
_RESOLVED = ("container", "virtualenv")
METRICS_PORT = 9090
#: Between an application's name and its environment's.
SEPARATOR = "--"

#: The largest number of a field, and the fields that are not called as their option is.
_LARGEST = 2**31 - 1
_FIELDS = {"scaling_delay": "scaling_delay_seconds"}

_CONDITIONS = ("timeout", "server_error", "connection_error")


@attrs.frozen
class SentFile:
    """
    A file that the service has, and where the function finds it.
    """

    hash: str
    relative_path: str


def full_name(name: str, environment_name: str | None) -> str:
    """
    Return how an application is called in an environment.
    """
    if not environment_name or environment_name == "main":
        return name
    return f"{name}{SEPARATOR}{environment_name}"


def auth_mode(mode: AuthMode | None) -> isolate_proto.ApplicationAuthMode.ValueType | None:
    """
    Return the number of *mode*.
    """
    import isolate_proto

    return None if mode is None else isolate_proto.ApplicationAuthMode.Value(mode.upper())


def environment(
    call: Call, *, requirements: Any = None, forced: bool = True
) -> isolate_proto.EnvironmentDefinition:
    """
    Return the message of the environment of *call*.

    Arguments:
        requirements: In place of its own, where local ones have been uploaded.

        forced: Whether ``force`` is passed on.
    """
    import isolate_proto

    options = unstructure_environment(call.environment)
    kind = options.pop("kind")
    if call.application and kind in _RESOLVED:
        options.setdefault("resolver", RESOLVER)
    force = bool(options.pop("force", False))
    if requirements is not None:
        options["requirements"] = requirements
    # Code travels, so the Python there is the one here unless another is named.
    options.setdefault("python_version", f"{sys.version_info.major}.{sys.version_info.minor}")
    return isolate_proto.EnvironmentDefinition(
        kind=kind,
        configuration=struct(f"Environment {kind!r}", options),
        force=force and forced,
    )


def check(options: HostOptions, gateway: Gateway) -> None:
    """
    Refuse options that the service cannot be told.

    Raises:
        OptionError: One is not written as it should, or not within what a message takes.
    """
    machine_requirements(options, gateway)
    struct("Option 'metadata'", options.metadata)
    health_check(options.health_check_config)
    retry_conditions(options.skip_retry_conditions)
    retry_config(options.retry_config)


def machine_types(options: HostOptions, *, application: bool = False) -> list[str]:
    """
    Return the machine types that *options* name, the wanted one first.
    """
    usual = APPLICATION_MACHINE_TYPE if application else MACHINE_TYPE
    written = options.machine_type or options.machine_types or usual
    return [written] if isinstance(written, str) else list(written)


def build_requirements(
    options: HostOptions, *, application: bool = False
) -> isolate_proto.MachineRequirements:
    """
    Return what building an environment needs of a machine.

    Arguments:
        application: Whether a class is served.

    Raises:
        OptionError: As :func:`check`.
    """
    import isolate_proto

    types = machine_types(options, application=application)
    scheduler, scheduled = options._scheduler, options._scheduler_options
    if application:
        scheduler = SCHEDULER if scheduler is None else scheduler
        scheduled = SCHEDULER_OPTIONS if scheduled is None else scheduled
    message = isolate_proto.MachineRequirements(
        machine_type=types[0],
        machine_types=types,
        base_image=options._base_image,
        scheduler=scheduler,
        scheduler_options=struct("Option '_scheduler_options'", scheduled),
        valid_regions=options.regions,
    )
    set_whole(message, "num_gpus", options.num_gpus)
    return message


def machine_requirements(
    options: HostOptions, gateway: Gateway, *, application: bool = False
) -> isolate_proto.MachineRequirements:
    """
    Return what running needs of its machines.

    Arguments:
        application: Whether a class is served.

    Raises:
        OptionError: As :func:`check`.
    """
    message = build_requirements(options, application=application)
    usual = APPLICATION_KEEP_ALIVE if application else KEEP_ALIVE
    values = {
        "keep_alive": usual if options.keep_alive is None else options.keep_alive,
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


def set_whole(message: Any, option: str, value: float | None) -> None:
    """
    Set the field of *option*, which is a whole number, where there is a *value*.

    Raises:
        OptionError: The field cannot have it.
    """
    if value is None:
        return
    try:
        setattr(message, _FIELDS.get(option, option), whole(value))
    except (ValueError, OverflowError) as error:
        raise OptionError(
            f"Option {option!r} is {value!r}, and the service takes none above {_LARGEST}."
        ) from error


def struct(what: str, content: Mapping[str, Any] | None) -> Struct:
    """
    Return the message of *content*, which is of JSON.

    Raises:
        OptionError: *content* is not; the error calls it *what*.
    """
    from google.protobuf.struct_pb2 import Struct

    message = Struct()
    try:
        message.update(dict(content or {}))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{what} has what the service cannot be told: {error}. Write only "
            "texts, numbers, booleans, None, lists and mappings by text."
        ) from error
    return message


def exposed_port(gateway: Gateway) -> int | None:
    """
    Return the port that the service leads requests to.
    """
    if gateway.exposed_port is not None:
        return gateway.exposed_port
    return SERVE_PORT if gateway.serve else None


def metrics_port(options: HostOptions, gateway: Gateway) -> int | None:
    """
    Return the port that the service reads metrics from.
    """
    if options.metrics_port is not None:
        return options.metrics_port
    return METRICS_PORT if exposed_port(gateway) is not None else None


def whole(seconds: float) -> int:
    """
    Return *seconds* as the whole number that the service takes: never less.
    """
    return math.ceil(seconds)


def secrets(names: Iterable[str] | None) -> isolate_proto.SecretsConfig | None:
    """
    Return the message of the secrets that a function names; None for the usual ones.
    """
    import isolate_proto

    return None if names is None else isolate_proto.SecretsConfig(names=names)


def files(sent: Iterable[SentFile]) -> list[isolate_proto.File]:
    """
    Return the messages of files.
    """
    import isolate_proto

    return [
        isolate_proto.File(hash=each.hash, relative_path=each.relative_path) for each in sent
    ]


def health_check(config: Any) -> isolate_proto.ApplicationHealthCheckConfig | None:
    """
    Return the message of a health check.

    Raises:
        OptionError: It names no path.
    """
    import isolate_proto

    if config is None:
        return None
    names = (
        *("path", "start_period_seconds", "timeout_seconds", "failure_threshold"),
        *("call_regularly", "method"),
    )
    if isinstance(config, Mapping):
        values = {name: config.get(name) for name in names}
    else:
        values = {name: getattr(config, name, None) for name in names}
    if not values["path"]:
        raise OptionError(
            "Option 'health_check_config' has no path. Write as in {'path': '/health'}."
        )
    method = values.pop("method")
    if method is not None:
        kind = isolate_proto.ApplicationHealthCheckConfig
        if str(method).upper() not in kind.Method.keys():  # noqa: SIM118  # no mapping
            listed = ", ".join(kind.Method.keys())
            raise OptionError(
                f"Option 'health_check_config' has the method {method!r}. There are: {listed}."
            )
        values["method"] = kind.Method.Value(str(method).upper())
    return isolate_proto.ApplicationHealthCheckConfig(
        **{name: value for name, value in values.items() if value is not None}
    )


def retry_conditions(
    names: Iterable[str] | None,
) -> list[isolate_proto.RetryCondition.ValueType]:
    """
    Return the numbers of failures after which a request is not retried.

    Raises:
        OptionError: There is no such failure.
    """
    import isolate_proto

    known = isolate_proto.RetryCondition.keys()
    numbers = []
    for name in names or ():
        if name.upper() not in known:
            listed = ", ".join(each.lower() for each in known)
            raise OptionError(
                f"Option 'skip_retry_conditions' names {name!r}. There are: {listed}."
            )
        numbers.append(isolate_proto.RetryCondition.Value(name.upper()))
    return numbers


def retry_config(config: Mapping[str, Any] | None) -> str | None:
    """
    Return the text of how requests are retried, as in ``{"timeout": {"retries": 1}}``.

    Raises:
        OptionError: It is written otherwise.
    """
    if config is None:
        return None
    for condition, entry in config.items():
        retries = entry.get("retries") if isinstance(entry, Mapping) else None
        if condition not in _CONDITIONS or type(retries) is not int or len(entry) != 1:
            raise OptionError(
                "Option 'retry_config' is written as in {'timeout': {'retries': 1}}, with "
                f"{', '.join(_CONDITIONS)} for failures; not {condition!r}: {entry!r}."
            )
    counts = {name: {"retries": max(entry["retries"], 0)} for name, entry in config.items()}
    return json.dumps(counts, sort_keys=True)
