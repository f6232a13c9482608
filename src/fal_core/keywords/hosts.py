"""
The options of hosts, and policies, as keywords.

Written by ``python3 dev.py keywords``, from the classes whose fields they are. Nothing imports
it but type checkers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict

from fal_core.hosts import Host


class SharedHostKeywords(TypedDict, total=False):
    """Options of hosts and the gateway that executors take too."""

    machine_type: str | list[str] | tuple[str, ...] | None
    """The machine to run on; of several the first that is free."""

    machine_types: list[str] | tuple[str, ...] | None
    """The same as a list, in place of *machine_type*."""

    num_gpus: int | None
    """How many GPUs, where the machine type leaves it open."""

    nodes: int | None
    """
    On how many nodes each call runs at once, each with the resources that the other options
    name. Each runs the function, which asks ``current_node()`` which it is on.
    """

    regions: list[str] | tuple[str, ...] | None
    """Where the function may run."""

    keep_alive: float | None
    """How many seconds a worker stays warm without a call."""

    min_concurrency: int | None
    """How many workers stay warm at any time."""

    concurrency_buffer: int | None
    """How many idle workers stay warm beside the busy ones."""

    concurrency_buffer_perc: int | None
    """The same in percent of the busy ones."""

    max_multiplexing: int | None
    """How many calls one worker runs at once."""

    scaling_delay: float | None
    """How many seconds a call waits before another worker starts."""

    request_timeout: float | None
    """
    How many seconds one request may take. For a function that is called, how long it may run in
    one call; waiting, starting and setup do not count.
    """

    request_start_timeout: float | None
    """How many seconds one request may wait to be started; 0 removes the limit that was set."""

    startup_timeout: float | None
    """
    How many seconds a worker may take to become ready: to start, and to run the
    ``setup_function``. Building the environment does not count, nor does waiting for a machine.
    A call that waits for it ends with ``StartupTimeout``.
    """

    termination_grace_period_seconds: float | None
    """How many seconds a worker may take to end."""

    secrets: list[str] | tuple[str, ...] | None
    """The names of secrets that the function sees as variables."""

    data_mounts: list[str] | tuple[str, ...] | None
    """Directories that outlive a worker."""

    metadata: Mapping[str, Any] | None
    """What a deployment carries beside the function."""

    app_files: list[str] | tuple[str, ...] | None
    """Files that travel with the function."""

    app_files_ignore: list[str] | tuple[str, ...] | None
    """Patterns of files that stay behind."""

    app_files_context_dir: str | os.PathLike[str] | None
    """What *app_files* are relative to."""

    requirements_context_dir: str | os.PathLike[str] | None
    """What paths in requirements are relative to."""

    metrics_port: int | None
    """Where a service offers its metrics."""

    private_logs: bool | None
    """Whether only the owner may see the logs."""

    logging: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None
    """
    The lowest level of the records of ``logging`` that go to the loggers of the caller, by
    their names, and through its handlers. Warnings are records of ``py.warnings``. Without it,
    records from ``WARNING`` on that no handler of the function takes are printed.
    """

    health_check_config: Any
    """How the service is asked for its health."""

    skip_retry_conditions: list[str] | tuple[str, ...] | None
    """Failures after which a request is not retried."""

    retry_config: Mapping[str, Any] | None
    """How requests are retried."""

    _base_image: str | None

    _scheduler: str | None

    _scheduler_options: Mapping[str, Any] | None

    wait: float | None
    """How many seconds a call waits for GPUs that others hold. For as long as it takes by default."""

    ray_resources: Mapping[str, float] | None
    """Resources of Ray by their names, as in ``{"TPU": 4}``."""

    ray_labels: Mapping[str, str] | None
    """Labels that the node must have, as in ``{"ray.io/zone": "a"}``."""

    ray_cpus: float | None
    """
    How many processors it takes, as Ray counts them, in place of those of its machine type. 1
    where neither says.
    """

    exposed_port: int | None
    """The port that a function with a server of its own listens on."""


class HostKeywords(SharedHostKeywords, total=False):
    """Options of hosts and the gateway."""

    max_concurrency: int | None
    """How many workers there may be at once."""

    setup_function: Callable[[], Any] | None
    """Run once in each worker; its result is passed as the first argument of each call."""


class PolicyKeywords(TypedDict, total=False):
    """What ``with_policy`` takes."""

    timeout: float | None
    """
    Seconds a call may take, waiting and retries included. The same holds for a spawned call and
    for a whole stream; for an item of a map they begin when the host runs it. None means no
    limit.
    """

    retries: int
    """How often a call is made again after its host has failed."""

    retry_on: type[Exception] | Iterable[type[Exception]]
    """
    Exceptions of the function after which a call is made again as well; detached work ignores
    them, as nobody opens what it raised.
    """

    grace: float
    """Seconds that an interrupted call has to end of its own accord."""

    seal: Literal["once", "every call"]
    """
    ``"every call"`` seals the function anew for each call, so that changes inside captured
    objects are seen.
    """

    on_unsupported: Literal["warn", "error", "ignore"]
    """What happens at the first call with options that its host cannot use."""

    lifetime: Literal["attached", "detached"]
    """``"detached"`` lets spawned calls outlive this process, on hosts that can."""


class KeywordsBesideOptions(HostKeywords, PolicyKeywords, total=False):
    """What ``function`` takes for kinds that are not known here, beside ``options``."""

    host: Host[Any, Any] | str | None
    """Where it runs: a host, its name or its URL."""

    local_python_modules: list[str] | None
    """Modules to take along as source, beside those that are found."""


class FunctionKeywords(KeywordsBesideOptions, total=False):
    """What it takes for every kind."""

    options: Mapping[str, Any] | None
    """Options of kinds and hosts that type checkers do not know."""
