"""
Health checks: replacing runners that do not respond.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from yarl import URL

from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.specs.health_checks import HealthCheck
from fal_server.state.tasks import Tasks

#: Seconds between two rounds.
_INTERVAL = 5.0


async def check_health(applications: Collection[Application], tasks: Tasks) -> None:
    """
    Check the runners of *applications* in rounds, and end those that fail too often.

    Each check runs in a task of its own, so that a slow runner does not hold up the
    others. A runner is not checked again before its last check has ended.

    Arguments:
        applications: A live view. Each round checks the applications that there are then.
    """
    in_progress: set[Runner] = set()
    while True:
        await asyncio.sleep(_INTERVAL)
        for application in list(applications):
            for runner in application.pool.runners:
                check = runner.spec.health_check
                if check is None or not runner.is_running or runner in in_progress:
                    continue
                in_progress.add(runner)
                tasks.spawn(_check_once(runner, check, in_progress))


async def _check_once(runner: Runner, check: HealthCheck, in_progress: set[Runner]) -> None:
    try:
        await _check(runner, check)
    finally:
        in_progress.discard(runner)


async def _check(runner: Runner, check: HealthCheck) -> None:
    if not check.call_regularly:
        return
    if runner.in_flight and not check.allow_on_busy:
        return
    if await _is_healthy(runner, check):
        runner.failed_checks = 0
        return
    age = time.monotonic() - (runner.running_since or 0.0)
    if age < check.start_period:
        return
    runner.failed_checks += 1
    if runner.failed_checks >= check.failure_threshold:
        runner.end_sick("It no longer answered its health check.")


async def _is_healthy(runner: Runner, check: HealthCheck) -> bool:
    """
    Send a health check to a runner, and return whether it succeeded.
    """
    path = URL("/" + check.path.lstrip("/")).raw_path_qs
    try:
        async with runner.ask(
            check.method,
            path,
            headers={"x-fal-runner-health-check": "true"},
            seconds=check.timeout,
        ) as upstream:
            return upstream.status < 300
    except (asyncio.TimeoutError, OSError):
        return False
