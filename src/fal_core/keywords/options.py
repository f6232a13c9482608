"""
The options of each kind of environment, and of hosts, as keywords.

Written by ``python3 dev.py keywords``, from the classes whose fields they are. Nothing imports
it but type checkers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from fal_core.environments import Environment
from fal_core.hosts import Host
from fal_core.keywords.values import ImageWithDockerfile


class HostKeywords(TypedDict, total=False):
    """
    Options of hosts and the gateway.
    """

    machine_type: str | list[str] | tuple[str, ...] | None
    machine_types: list[str] | tuple[str, ...] | None
    num_gpus: int | None
    nodes: int | None
    regions: list[str] | tuple[str, ...] | None
    keep_alive: float | None
    min_concurrency: int | None
    max_concurrency: int | None
    concurrency_buffer: int | None
    concurrency_buffer_perc: int | None
    max_multiplexing: int | None
    scaling_delay: float | None
    request_timeout: float | None
    request_start_timeout: float | None
    startup_timeout: float | None
    termination_grace_period_seconds: float | None
    setup_function: Callable[[], Any] | None
    secrets: list[str] | tuple[str, ...] | None
    data_mounts: list[str] | tuple[str, ...] | None
    metadata: Mapping[str, Any] | None
    app_files: list[str] | tuple[str, ...] | None
    app_files_ignore: list[str] | tuple[str, ...] | None
    app_files_context_dir: str | os.PathLike[str] | None
    requirements_context_dir: str | os.PathLike[str] | None
    metrics_port: int | None
    private_logs: bool | None
    logging: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None
    health_check_config: Any
    skip_retry_conditions: list[str] | tuple[str, ...] | None
    retry_config: Mapping[str, Any] | None
    _base_image: str | None
    _scheduler: str | None
    _scheduler_options: Mapping[str, Any] | None
    wait: float | None
    exposed_port: int | None


class KeywordsBesideOptions(HostKeywords, total=False):
    """
    What ``function`` takes for kinds that are not known here, beside ``options``.
    """

    host: Host[Any, Any] | str | None
    local_python_modules: list[str] | None
    timeout: float | None
    retries: int
    retry_on: type[Exception] | Iterable[type[Exception]]
    grace: float
    seal: Literal["once", "every call"]
    on_unsupported: Literal["warn", "error", "ignore"]
    lifetime: Literal["attached", "detached"]


class FunctionKeywords(KeywordsBesideOptions, total=False):
    """
    What it takes for every kind; ``options`` are those that are not known here.
    """

    options: Mapping[str, Any] | None


class CurrentKeywords(FunctionKeywords, total=False):
    """
    What it takes for kind ``current``.
    """


class VirtualenvKeywords(FunctionKeywords, total=False):
    """
    What it takes for kind ``virtualenv``.
    """

    requirements: list[str] | tuple[str, ...] | Sequence[list[str] | tuple[str, ...]] | None
    constraints_file: str | os.PathLike[str] | None
    index_url: str | None
    extra_index_urls: list[str] | tuple[str, ...] | None
    torch_backend: str | None
    exclude_newer: str | None
    project: str | os.PathLike[str] | None
    groups: list[str] | tuple[str, ...] | None
    extras: list[str] | tuple[str, ...] | None
    frozen: bool | None
    python_version: str | None
    resolver: Literal["uv", "pip"] | None
    force: bool | None
    compile_bytecode: bool | None
    tags: list[str] | tuple[str, ...] | None
    force_env_build: bool | None


class CondaKeywords(FunctionKeywords, total=False):
    """
    What it takes for kind ``conda``.
    """

    python_version: str | None
    env_dict: Mapping[str, Any] | None
    env_yml: str | os.PathLike[str] | None
    env_yml_str: str | None
    packages: list[str] | tuple[str, ...] | None
    pip: list[str] | tuple[str, ...] | None
    index_url: str | None
    extra_index_urls: list[str] | tuple[str, ...] | None
    torch_backend: str | None
    channels: list[str] | tuple[str, ...] | None
    force: bool | None
    force_env_build: bool | None


class ContainerKeywords(FunctionKeywords, total=False):
    """
    What it takes for kind ``container`` beside the image.
    """

    constraints_file: str | os.PathLike[str] | None
    index_url: str | None
    extra_index_urls: list[str] | tuple[str, ...] | None
    torch_backend: str | None
    exclude_newer: str | None
    project: str | os.PathLike[str] | None
    groups: list[str] | tuple[str, ...] | None
    extras: list[str] | tuple[str, ...] | None
    frozen: bool | None
    requirements: list[str] | tuple[str, ...] | Sequence[list[str] | tuple[str, ...]] | None
    python_version: str | None
    resolver: Literal["uv", "pip"] | None
    force: bool | None
    platform: str | None
    shm_size: int | str | None
    volumes: list[str] | tuple[str, ...] | None
    network: bool | str | None
    trusted: bool | None
    tenant: str | None
    force_env_build: bool | None


class PolicyKeywords(TypedDict, total=False):
    """
    What ``with_policy`` takes.
    """

    timeout: float | None
    retries: int
    retry_on: type[Exception] | Iterable[type[Exception]]
    grace: float
    seal: Literal["once", "every call"]
    on_unsupported: Literal["warn", "error", "ignore"]
    lifetime: Literal["attached", "detached"]


class AnyKeywords(HostKeywords, total=False):
    """
    What ``on`` takes, whose function may have any kind.
    """

    kind: Literal["current", "virtualenv", "conda", "container"] | Environment | None
    serve: bool | None
    options: Mapping[str, Any] | None
    requirements: list[str] | tuple[str, ...] | Sequence[list[str] | tuple[str, ...]] | None
    constraints_file: str | os.PathLike[str] | None
    index_url: str | None
    extra_index_urls: list[str] | tuple[str, ...] | None
    torch_backend: str | None
    exclude_newer: str | None
    project: str | os.PathLike[str] | None
    groups: list[str] | tuple[str, ...] | None
    extras: list[str] | tuple[str, ...] | None
    frozen: bool | None
    python_version: str | None
    resolver: Literal["uv", "pip"] | None
    force: bool | None
    compile_bytecode: bool | None
    tags: list[str] | tuple[str, ...] | None
    force_env_build: bool | None
    env_dict: Mapping[str, Any] | None
    env_yml: str | os.PathLike[str] | None
    env_yml_str: str | None
    packages: list[str] | tuple[str, ...] | None
    pip: list[str] | tuple[str, ...] | None
    channels: list[str] | tuple[str, ...] | None
    image: str | ImageWithDockerfile | Mapping[str, Any] | None
    platform: str | None
    shm_size: int | str | None
    volumes: list[str] | tuple[str, ...] | None
    network: bool | str | None
    trusted: bool | None
    tenant: str | None
