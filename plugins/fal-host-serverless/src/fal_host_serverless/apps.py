"""Applications: how they scale, and their runners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fal_host_serverless.account import applications
from fal_host_serverless.account.signatures import with_arguments_of
from fal_host_serverless.client import SyncServerlessClient
from fal_host_serverless.values import AliasInfo, RunnerInfo


def list_apps(
    client: SyncServerlessClient,
    *,
    filter: str | None = None,
    environment_name: str | None = None,
) -> list[AliasInfo]:
    """List the applications whose name contains *filter*."""
    return client.perform(applications.list_apps(filter, environment_name))


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
        since: Include runners that have ended after this time.

        state: The states to include, as in ``["running"]``.
    """
    return client.perform(applications.app_runners(app_name, since, state, environment_name))


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
        force: End the old runners at once.
    """
    client.perform(applications.rollout(app_name, force, environment_name))


@with_arguments_of(applications.scale)
def scale_app(client: SyncServerlessClient, *args: Any, **kwargs: Any) -> AliasInfo:
    """
    Change how an application scales. None leaves a setting as it is; times are seconds.

    Arguments:
        request_start_timeout: 0 removes the limit that was set.
    """
    return client.perform(applications.scale(*args, **kwargs))
