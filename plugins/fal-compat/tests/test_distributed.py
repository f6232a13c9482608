"""Distributed models: processes that answer together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch: FAL_CORE_TORCH=... dev.py tensors")

from distributed_examples import Later, Summing  # path

from fal_compat.distributed import DistributedRunner

#: Seconds that a start may take.
PATIENCE = 240


def run(work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    asyncio.run(work(*args))


def test_processes_answer_together(tmp_path: Path):
    """
    Processes compute with each other, and rank 0 answers, at once and in pieces; a call that
    fails is answered with its error, and the next one with its result.
    """

    async def use() -> None:
        runner = DistributedRunner(Summing, world_size=2, cwd=tmp_path)
        await runner.start(PATIENCE, factor=10)
        with pytest.raises(RuntimeError, match="started already"):
            await runner.start()
        told = await runner.invoke({"number": 2}, timeout=PATIENCE)
        assert (told["sum"].item(), told["device"]) == (60, "cpu")
        assert Path(told["directory"]).samefile(tmp_path)
        assert await runner.invoke({"fails": True}) == {"error": "It is wrong."}
        half, whole = [each async for each in runner.stream()]
        assert half["half"].item() == whole["sum"].item() == 30
        events = [each async for each in runner.stream({"text": True}, as_text_events=True)]
        half, whole = (json.loads(each.removeprefix(b"data: ")) for each in events)
        assert half == {"half": [30]}
        assert whole["sum"] == [30]
        with pytest.raises(RuntimeError, match=r"has ended|do not run"):
            await runner.invoke({"dies": True}, timeout=PATIENCE)
        assert not runner.is_alive()
        runner.terminate()

    run(use)


def test_start_that_fails():
    """The error of a setup is raised where the model is started, and no process is left."""

    async def use() -> None:
        runner = DistributedRunner(Summing, world_size=2)
        with pytest.raises(RuntimeError, match="could not be set up") as caught:
            await runner.start(PATIENCE, factor=0)
        assert str(caught.value.__cause__) == "There are no weights."
        assert [str(each) for each in runner.gather_errors()] == ["There are no weights."]
        assert not runner.is_alive()
        with pytest.raises(RuntimeError, match="do not run"):
            await runner.invoke()

    run(use)


def test_worker_with_an_event_loop():
    """A worker may answer in its event loop, and is kept alive by calls."""

    async def use() -> None:
        runner = DistributedRunner(Later, keepalive_interval=0.05)
        async with runner:
            while runner._number < 3:
                await asyncio.sleep(0.01)
            assert await runner.invoke() == 1

    run(use)
