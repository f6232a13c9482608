"""
Health checks: runners that do not answer are replaced.
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
    Replace runners of *applications* that fail too often, again and again.

    A runner that takes long to answer holds up no other: each is asked by a task of its
    own, and once more after it has answered.

    Arguments:
        applications: Looked at anew in each round.
    """
    asked: set[Runner] = set()
    while True:
        await asyncio.sleep(_INTERVAL)
        for application in list(applications):
            for runner in application.pool.runners:
                check = runner.spec.health_check
                if check is None or not runner.is_running or runner in asked:
                    continue
                asked.add(runner)
                tasks.spawn(_check_once(runner, check, asked))


async def _check_once(runner: Runner, check: HealthCheck, asked: set[Runner]) -> None:
    try:
        await _check(runner, check)
    finally:
        asked.discard(runner)


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
    Ask a runner for its health.
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
