"""Meters: what an agent answers to whoever looks at its runner, and how often it is measured."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import Any

import pytest

from fal_server_agent.metering import meters
from fal_server_agent.metering.meters import Meter


def test_what_is_used_is_told():
    """The node and the memory are told, as JSON."""
    told = json.loads(asyncio.run(Meter().read()))
    assert told["node"] == os.uname().nodename
    assert told["memory"] > 1 << 20
    assert told["gpus"] == [] or told["gpus"][0]["name"]


def test_many_who_ask_cost_one_measurement(monkeypatch: pytest.MonkeyPatch):
    """All who ask at once, or soon after, are told the same."""
    measured: list[int] = []

    def measure() -> tuple[int, None]:
        measured.append(1)
        return len(measured), None

    monkeypatch.setattr(meters, "measure_memory", measure)
    meter = Meter()

    async def main() -> list[bytes]:
        first = await asyncio.gather(*[meter.read() for _ in range(10)])
        return [*first, await meter.read()]

    assert {json.loads(each)["memory"] for each in asyncio.run(main())} == {1}
    meter._until = 0.0
    assert json.loads(asyncio.run(meter.read()))["memory"] == 2


def test_driver_that_never_answers(monkeypatch: pytest.MonkeyPatch):
    """Nobody waits for ever where a driver does not answer, and it is asked once."""
    asked: list[Any] = []
    release = threading.Event()

    def hang(visible: str | None) -> list[Any]:
        asked.append(visible)
        release.wait()
        return []

    monkeypatch.setattr(meters, "measure_gpus", hang)
    monkeypatch.setattr(meters, "_PATIENCE", 0.01)
    meter = Meter()

    async def main() -> list[bytes]:
        told = [await meter.read() for _ in range(3)]
        release.set()
        assert meter._measured is not None
        return [*told, await meter._measured]

    *early, late = asyncio.run(main())
    assert (early, len(asked)) == ([b"{}"] * 3, 1)
    assert json.loads(late)["gpus"] == []
