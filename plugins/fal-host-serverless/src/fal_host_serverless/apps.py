"""
Applications: what is deployed, how it scales, and what serves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fal_host_serverless import operations
from fal_host_serverless.values import AliasInfo, RunnerInfo

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


def list_apps(
    client: SyncServerlessClient,
    *,
    filter: str | None = None,
    environment_name: str | None = None,
) -> list[AliasInfo]:
    """
    List the applications whose name has *filter* in it.
    """
    return client.perform(operations.list_apps(filter, environment_name))


def apps_runners(
    client: SyncServerlessClient,
    app_name: str,
    *,
    since: datetime | None = None,
    state: Sequence[str] | None = None,
    environment_name: str | None = None,
) -> list[RunnerInfo]:
    """
    List the runners of an application.

    Arguments:
        since: Also those that have ended after this time.

        state: The states that are wanted, as in ``["running"]``.
    """
    return client.perform(operations.app_runners(app_name, since, state, environment_name))


def rollout_app(
    client: SyncServerlessClient,
    app_name: str,
    *,
    force: bool = False,
    environment_name: str | None = None,
) -> None:
    """
    Replace the runners of an application by new ones.

    Arguments:
        force: End the old ones at once.
    """
    client.perform(operations.rollout(app_name, force, environment_name))


def scale_app(
    client: SyncServerlessClient,
    app_name: str,
    *,
    keep_alive: int | None = None,
    max_multiplexing: int | None = None,
    max_concurrency: int | None = None,
    min_concurrency: int | None = None,
    concurrency_buffer: int | None = None,
    concurrency_buffer_perc: int | None = None,
    scaling_delay: int | None = None,
    request_timeout: int | None = None,
    startup_timeout: int | None = None,
    machine_types: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    environment_name: str | None = None,
    request_start_timeout: int | None = None,
) -> AliasInfo:
    """
    Change how an application scales. What is None stays as it is; times are seconds.

    Arguments:
        request_start_timeout: 0 takes back what was set.
    """
    changes = {
        "keep_alive": keep_alive,
        "max_multiplexing": max_multiplexing,
        "max_concurrency": max_concurrency,
        "min_concurrency": min_concurrency,
        "concurrency_buffer": concurrency_buffer,
        "concurrency_buffer_perc": concurrency_buffer_perc,
        "scaling_delay": scaling_delay,
        "request_timeout": request_timeout,
        "request_start_timeout": request_start_timeout,
        "startup_timeout": startup_timeout,
        "machine_types": machine_types,
        "regions": regions,
    }
    return client.perform(operations.scale(app_name, environment_name, **changes))
