"""Options: the lossless record of what the user wrote, and the typed values made of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from fal_core.errors import PluginError
from fal_core.reprs import show_fields
from fal_core.validators import at_least, between, more_than, no_less_than

if TYPE_CHECKING:
    from typing_extensions import Self

#: The port of a served function on hosts that give it a network of its own.
SERVE_PORT = 8080
LAST_PORT = 65535

#: In the metadata of an attrs field whose value stays in this process, such as a password: a
#: function that returns what other processes get instead.
TRAVELS_AS = "fal_core.travels_as"

OnUnsupported = Literal["warn", "error", "ignore"]
Lifetime = Literal["attached", "detached"]


class HasHostOptions(Protocol):
    """What has options for a host: a call, or the start of a worker."""

    @property
    def host_options(self) -> HostOptions: ...


@attrs.frozen(kw_only=True)
class HostOptions:
    """
    Every documented option of a host, with its type and default.

    Times are in seconds. A plugin adds options in a subclass and redefines none; the
    validators of :mod:`fal_core.validators` bound its numbers.

    Attributes:
        machine_type: The machine to run on; of several the first that is free.

        machine_types: The same as a list, in place of *machine_type*.

        num_gpus: How many GPUs, where the machine type leaves it open.

        nodes: On how many nodes each call runs at once, each with the resources that the other
            options name. Each runs the function, which asks ``current_node()`` which it is on.

        regions: Where the function may run.

        keep_alive: How long a worker stays warm without a call.

        min_concurrency: How many workers stay warm at any time.

        max_concurrency: How many workers there may be at once.

        concurrency_buffer: How many idle workers stay warm beside the busy ones.

        concurrency_buffer_perc: The same in percent of the busy ones.

        max_multiplexing: How many calls one worker runs at once.

        scaling_delay: How long a call waits before another worker starts.

        request_timeout: How long one request may take. For a function that is called, how
            long it may run in one call; waiting, starting and setup do not count.

        request_start_timeout: How long one request may wait to be started; 0 removes
            the limit that was set.

        startup_timeout: How long a worker may take to become ready: to start, and
            to run the ``setup_function``. Building the environment does not count,
            nor does waiting for a machine. A call that waits for it ends with
            ``StartupTimeout``.

        termination_grace_period_seconds: How long a worker may take to end.

        setup_function: Run once in each worker; its result is passed as the
            first argument of each call.

        secrets: The names of secrets that the function sees as variables.

        data_mounts: Directories that outlive a worker.

        metadata: What a deployment carries beside the function.

        app_files: Files that travel with the function.

        app_files_ignore: Patterns of files that stay behind.

        app_files_context_dir: What *app_files* are relative to.

        requirements_context_dir: What paths in requirements are relative to.

        metrics_port: Where a service offers its metrics.

        private_logs: Whether only the owner may see the logs.

        logging: The lowest level of the records of ``logging`` that go to the loggers of
            the caller, by their names, and through its handlers. Warnings are records of
            ``py.warnings``. Without it, records from ``WARNING`` on that no handler of the
            function takes are printed.

        health_check_config: How the service is asked for its health.

        skip_retry_conditions: Failures after which a request is not retried.

        retry_config: How requests are retried.
    """

    __repr__ = show_fields

    @property
    def machine_names(self) -> tuple[str, ...]:
        """
        The machine types that the function may run on, the preferred one first. None of
        them where it does not say.
        """
        named = self.machine_type or self.machine_types or ()
        return (named,) if isinstance(named, str) else named

    machine_type: str | tuple[str, ...] | None = None
    machine_types: tuple[str, ...] | None = None
    num_gpus: int | None = attrs.field(default=None, validator=at_least(0))
    nodes: int | None = attrs.field(default=None, validator=at_least(1))
    regions: tuple[str, ...] | None = None
    keep_alive: float | None = attrs.field(default=None, validator=at_least(0))
    min_concurrency: int | None = attrs.field(default=None, validator=at_least(0))
    max_concurrency: int | None = attrs.field(
        default=None, validator=[at_least(1), no_less_than("min_concurrency")]
    )
    concurrency_buffer: int | None = attrs.field(default=None, validator=at_least(0))
    concurrency_buffer_perc: int | None = attrs.field(default=None, validator=at_least(0))
    max_multiplexing: int | None = attrs.field(default=None, validator=at_least(1))
    scaling_delay: float | None = attrs.field(default=None, validator=at_least(0))
    request_timeout: float | None = attrs.field(default=None, validator=more_than(0))
    request_start_timeout: float | None = attrs.field(default=None, validator=at_least(0))
    startup_timeout: float | None = attrs.field(default=None, validator=more_than(0))
    termination_grace_period_seconds: float | None = attrs.field(
        default=None, validator=at_least(0)
    )
    setup_function: Callable[[], Any] | None = None
    secrets: tuple[str, ...] | None = None
    data_mounts: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] | None = None
    app_files: tuple[str, ...] | None = None
    app_files_ignore: tuple[str, ...] | None = None
    app_files_context_dir: str | os.PathLike[str] | None = None
    requirements_context_dir: str | os.PathLike[str] | None = None
    metrics_port: int | None = attrs.field(default=None, validator=between(0, LAST_PORT))
    private_logs: bool | None = None
    logging: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None
    health_check_config: Any | None = None
    skip_retry_conditions: tuple[str, ...] | None = None
    retry_config: Mapping[str, Any] | None = None
    _base_image: str | None = attrs.field(default=None, alias="_base_image")
    _scheduler: str | None = attrs.field(default=None, alias="_scheduler")
    _scheduler_options: Mapping[str, Any] | None = attrs.field(
        default=None, alias="_scheduler_options"
    )

    @classmethod
    def of(cls, call: HasHostOptions | HostOptions) -> Self:
        """
        Return the options of *call*, or those given, which have this class if the host
        declares it.

        Raises:
            PluginError: They have another class.
        """
        options = call if isinstance(call, HostOptions) else call.host_options
        if isinstance(options, cls):
            return options
        raise PluginError(
            cls.__name__,
            f"the call has {type(options).__name__}, the options that its host declares. "
            f"Write 'options: ClassVar[type[HostOptions]] = {cls.__name__}' in its class.",
            role="Class",
        )


@attrs.frozen(kw_only=True)
class Gateway:
    """
    How a function is reached from outside.

    Attributes:
        serve: Whether the function becomes an HTTP endpoint.

        exposed_port: The port that a function with a server of its own listens on.
    """

    __repr__ = show_fields

    serve: bool = False
    exposed_port: int | None = attrs.field(default=None, validator=between(0, LAST_PORT))


@attrs.define
class Options:
    """
    What the user wrote, sorted into three mappings; nothing is lost or added.

    Attributes:
        host: Options of the host, including those that this host cannot use.

        environment: Options of the environment, ``kind`` among them.

        gateway: Options of the gateway.

        kept: Options of other kinds of environments, for an ``on`` that asks for such a
            kind.
    """

    __repr__ = show_fields

    host: dict[str, Any] = attrs.field(factory=dict)
    environment: dict[str, Any] = attrs.field(factory=dict)
    gateway: dict[str, Any] = attrs.field(factory=dict)
    kept: dict[str, Any] = attrs.field(factory=dict, kw_only=True)

    def add_requirements(self, requirements: list[str]) -> None:
        """
        Add *requirements* that are not there yet, as a layer where layers are used.

        Raises:
            OptionTypeError: *requirements* is no list of requirements.

            FalServerlessError: The kind of environment takes no requirements.
        """
        from fal_core.errors import FalServerlessError, OptionTypeError

        if isinstance(requirements, str):
            raise OptionTypeError("requirements", f"{requirements!r} (str)", "a list of str")

        kind = self.environment.get("kind", "virtualenv")
        names = {"virtualenv": "requirements", "container": "requirements", "conda": "pip"}
        if kind not in names:
            raise FalServerlessError(
                f"Requirements can be added to a conda, virtualenv or container "
                f"environment, not to kind {kind!r}."
            )
        written = self.environment.setdefault(names[kind], [])
        layered = bool(written) and all(not isinstance(entry, str) for entry in written)
        present = {name for entry in written for name in entry} if layered else set(written)
        added = [each for each in requirements if each not in present]
        if added:
            # A new list: the user's own stays unchanged.
            self.environment[names[kind]] = [*written, *([added] if layered else added)]

    def get_exposed_port(self) -> int | None:
        """
        Return the port that the function listens on where it has a network of its own.

        None for a function that is not reached from outside.
        """
        exposed_port: int | None = self.gateway.get("exposed_port")
        if exposed_port is not None:
            return exposed_port
        return SERVE_PORT if self.gateway.get("serve") else None


def merge_basic_config(target: dict[str, Any], incoming: dict[str, Any]) -> None:
    """Add the items of *incoming* whose keys *target* does not have."""
    for name, value in incoming.items():
        target.setdefault(name, value)


def canonical_name(name: str) -> str:
    """Return *name* of a distribution normalised, so that all its spellings are equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    """Return the canonical name that *requirement* asks for; empty if it has none."""
    egg = re.search(r"#(?:.*&)?egg=([A-Za-z0-9._-]+)", requirement)
    named = egg or re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?![A-Za-z0-9+:/])", requirement)
    return canonical_name(named[1]) if named else ""
