"""The client, and the functions that do the same with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from fal_host_serverless import (
    SyncServerlessClient,
    apps,
    environments,
    keys,
    runners,
    secrets,
)

MOMENT = datetime(2031, 2, 3, tzinfo=timezone.utc)

Use = Callable[[Any], Any]

#: The use of a method, and that of the function beside it.
SAME: list[tuple[Use, Use]] = [
    (
        lambda client: client.apps.list(filter="oth", environment_name="e"),
        lambda client: apps.list_apps(client, filter="oth", environment_name="e"),
    ),
    (
        lambda client: client.apps.runners(
            "a", since=MOMENT, state=["dead"], environment_name="e"
        ),
        lambda client: apps.apps_runners(
            client, "a", since=MOMENT, state=["dead"], environment_name="e"
        ),
    ),
    (
        lambda client: client.apps.rollout("a", force=True, environment_name="e"),
        lambda client: apps.rollout_app(client, "a", force=True, environment_name="e"),
    ),
    (
        lambda client: client.apps.scale("a", keep_alive=1, environment_name="e"),
        lambda client: apps.scale_app(client, "a", keep_alive=1, environment_name="e"),
    ),
    (
        lambda client: client.runners.list(since=MOMENT),
        lambda client: runners.list_runners(client, since=MOMENT),
    ),
    (
        lambda client: client.runners.stop("r", True),
        lambda client: runners.stop_runner(client, "r", True),
    ),
    (
        lambda client: client.runners.kill("r"),
        lambda client: runners.kill_runner(client, "r"),
    ),
    (
        lambda client: client.keys.create(scope="api", description="d"),
        lambda client: keys.create_key(client, scope="api", description="d"),
    ),
    (
        lambda client: client.keys.create(preset="deploy"),
        lambda client: keys.create_key(client, preset="deploy"),
    ),
    (
        lambda client: client.keys.create(permissions=["p"]),
        lambda client: keys.create_key(client, permissions=["p"]),
    ),
    (lambda client: client.keys.list(), lambda client: keys.list_keys(client)),
    (
        lambda client: client.keys.revoke("k"),
        lambda client: keys.revoke_key(client, "k"),
    ),
    (
        lambda client: client.secrets.list("e"),
        lambda client: secrets.list_secrets(client, "e"),
    ),
    (
        lambda client: client.secrets.set("n", "v", "e", False),
        lambda client: secrets.set_secret(client, "n", "v", "e", False),
    ),
    (
        lambda client: client.secrets.unset("n", "e"),
        lambda client: secrets.unset_secret(client, "n", "e"),
    ),
    (
        lambda client: client.environments.create("n", "d"),
        lambda client: environments.create_environment(client, "n", "d"),
    ),
    (
        lambda client: client.environments.list(),
        lambda client: environments.list_environments(client),
    ),
    (
        lambda client: client.environments.delete("n"),
        lambda client: environments.delete_environment(client, "n"),
    ),
]


@pytest.mark.parametrize(("method", "function"), SAME)
def test_functions_do_the_same_as_methods(
    method: Use, function: Use, asking: SyncServerlessClient, recorder: Any
):
    """A function sends the request of the method of its name, and returns the same value."""
    assert function(asking) == method(asking)
    one, other = recorder.asked
    assert one == other
