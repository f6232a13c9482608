"""
Health checks: runners that do not answer are replaced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any

from yarl import URL

from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.routing.pools import Pool
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
                if check is None or runner.phase != "running" or runner in asked:
                    continue
                asked.add(runner)
                tasks.spawn(_check_once(application.pool, runner, check, asked))


async def _check_once(
    pool: Pool, runner: Runner, check: Mapping[str, Any], asked: set[Runner]
) -> None:
    try:
        await _check(pool, runner, check)
    finally:
        asked.discard(runner)


async def _check(pool: Pool, runner: Runner, check: Mapping[str, Any]) -> None:
    if not check.get("call_regularly", True):
        return
    if runner.in_flight and not check.get("allow_on_busy", False):
        return
    if await _is_healthy(runner, check):
        runner.unhealthy = 0
        return
    age = time.monotonic() - (runner.running_since or 0.0)
    if age < float(check.get("start_period_seconds") or 0):
        return
    runner.unhealthy += 1
    if runner.unhealthy >= int(check.get("failure_threshold") or 3):
        runner.reason = "It no longer answered its health check."
        runner.sick = True
        runner.kill()
        pool.adjust()


async def _is_healthy(runner: Runner, check: Mapping[str, Any]) -> bool:
    """
    Ask a runner for its health.
    """
    path = URL("/" + str(check["path"]).lstrip("/")).raw_path_qs
    try:
        async with runner.ask(
            check.get("method") or "GET",
            path,
            headers={"x-fal-runner-health-check": "true"},
            seconds=float(check.get("timeout_seconds") or 5),
        ) as upstream:
            return upstream.status < 300
    except (asyncio.TimeoutError, OSError):
        return False
