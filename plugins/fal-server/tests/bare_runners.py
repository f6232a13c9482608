"""Runners that no host has launched: the test tells them what a host would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fal_core.environments import CurrentEnvironment
from fal_core.events import Sealed
from fal_core_worker.opening.values import seal_error
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.specs.runner_specs import RunnerSpec


def make_runner(
    plane: Any, exchanges: HttpClient, *, name: str = "one", **fields: Any
) -> Runner:
    """Return a runner whose lines go to the log of *plane*, in the loop that runs."""
    given = {
        "id": name,
        "spec": RunnerSpec(name=name, owner="", environment=CurrentEnvironment()),
        "token": "",
        "changed": lambda _: None,
        "echoes": {},
        **fields,
    }
    loop, tasks = asyncio.get_running_loop(), plane.plane.launcher.tasks
    return Runner(logs=plane.plane.logs, loop=loop, http=exchanges, tasks=tasks, **given)


def raised(error: Exception) -> Sealed:
    """Return the message of a worker about *error*."""
    try:
        raise error
    except Exception as caught:
        return seal_error(caught, None)


async def until(check: Callable[[], Any]) -> None:
    """Wait until *check* returns something true."""
    for _ in range(5000):
        if check():
            return
        # Until *check* is true.
        await asyncio.sleep(0.01)
    raise AssertionError("It does not become true.")
