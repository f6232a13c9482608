"""Listening: wait until an application answers where it listens."""

from __future__ import annotations

import asyncio
from typing import Any

from fal_server_agent.networks.places import RunnerEndpoint


async def answers(place: RunnerEndpoint, check: dict[str, Any] | None) -> None:
    """Wait until a server listens at *place* and, with a *check*, until it is healthy."""
    pause = 0.01
    while not await _answers_now(place, check):
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, 0.2)


async def _answers_now(place: RunnerEndpoint, check: dict[str, Any] | None) -> bool:
    limit = 5.0 if check is None else float(check.get("timeout_seconds") or 5)
    try:
        return await asyncio.wait_for(_ask(place, check), limit)
    except (OSError, asyncio.TimeoutError, ValueError):
        return False


async def _ask(place: RunnerEndpoint, check: dict[str, Any] | None) -> bool:
    reader, writer = await place.connect()
    try:
        if check is None:
            return True
        path = "/" + str(check["path"]).lstrip("/")
        method = check.get("method") or "GET"
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
            "x-fal-runner-health-check: true\r\nConnection: close\r\n\r\n".encode()
        )
        line = (await reader.readline()).split()
        return len(line) > 1 and line[1].startswith(b"2")
    finally:
        writer.close()
