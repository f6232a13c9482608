"""What runners use: asked of their agents while someone looks, and never trusted."""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bare_runners import make_runner, until
from raw_agents import Agent, answering, holding, listening, run

from fal_core.machines import Machine
from fal_server.dashboard import usages
from fal_server.dashboard.usages import Usages, read_usage
from fal_testing.harness.devices import gpu, machine_with

sys.path.insert(0, str(Path(__file__).parents[4] / "tests" / "vendor"))

from vendor_libraries import Gpu, gpus, nvml_library

__all__ = ["gpus", "nvml_library"]


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


FINE = answer(b'{"node": "far", "memory": 1000, "limit": null, "gpus": []}')


def with_runners(
    plane: Any, agent: Agent, count: int, work: Callable[[Usages, list[Any]], Awaitable[Any]]
) -> Any:
    """Do *work* with so many runners whose agent is *agent*."""

    async def main() -> Any:
        async with listening(agent) as (exchanges, url):
            runners = [
                make_runner(plane, exchanges, name=f"runner-{number}")
                for number in range(count)
            ]
            for each in runners:
                each.agent.listens_at(url)
            return await work(Usages(plane.plane.decider._live._snapshots), runners)

    return run(main())


def test_runner_tells_what_it_uses(served_plane: Any, app: str):
    """The memory of a runner that serves is told with its node, for the pages that show it."""
    with served_plane.client("run") as client:
        client.post(f"/owner/{app}")
    with served_plane.plane.client() as client:

        def ask(**query: str) -> Mapping[str, Any]:
            told: Mapping[str, Any] = client.get("/dashboard/usages", params=query).json()
            return told

        ((id, usage),) = ask()["usages"].items()
        assert usage["memory"] > 5 << 20
        assert usage["node"] == platform.node()
        for query in ({"application": app}, {"runner": id}):
            assert ask(**query)["usages"].keys() == {id}
        for query in ({"application": "other"}, {"runner": "other"}):
            assert ask(**query)["usages"] == {}


def test_runner_tells_what_it_uses_of_its_gpus(
    gpus: Any,
    served: Any,
    programs: Any,
    tmp_path: Path,
    make_plane: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
):
    """A runner tells of the GPU that it was given, and of no other."""
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus.have(
        Gpu(uuid="GPU-0", name="Held by another"),
        Gpu(uuid="GPU-1", name="Given", memory=80 << 30, used=8 << 30, busy=35),
    )
    (tmp_path / "folder").mkdir()
    with machine_with(
        gpu(0, name="Other"),
        gpu(1),
        machines=(Machine(name="GPU-H100", gpus=1, gpu_model="H100"),),
    ):
        made = served.ServedPlane(tmp_path / "folder", make_plane)
        made.deploy("drawing", machine_type="GPU-H100")
        with made.plane.client() as client:
            (usage,) = client.get("/dashboard/usages").json()["usages"].values()
        made.plane.close()
        programs.end_runners(made.plane.settings.data)
    assert usage["gpus"] == [{"name": "Given", "memory": 80 << 30, "used": 8 << 30, "busy": 35}]


def test_who_may_see_no_runners_is_told_nothing(plane: Any):
    """It takes the permission to list runners."""
    key = plane.make_key(policy_preset="AGENT")
    with plane.client(key) as client:
        assert client.get("/dashboard/usages").status_code == 403


def test_agent_is_asked_once_by_many_pages(plane: Any):
    """
    Pages that are open at once cost an agent one question, and so does one that asks again
    soon.
    """
    agent = Agent(holding(FINE))

    async def work(known: Usages, runners: list[Any]) -> None:
        told = await asyncio.gather(*[known.read(runners) for _ in range(5)])
        told.append(await known.read(runners))
        assert [each["runner-0"]["memory"] for each in told] == [1000] * 6

    with_runners(plane, agent, 1, work)
    assert len(agent.requests) == 1


def test_agents_that_are_silent_hold_up_nobody(plane: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A page is answered without what silent agents use; few are asked at once, and each again
    only after a while.
    """
    monkeypatch.setattr(usages, "_WAIT", 0.05)
    monkeypatch.setattr(usages, "_PATIENCE", 0.2)
    asking = most = 0

    async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        # On a machine that stands still, a question ends before it was sent or even read.
        while await reader.read(1 << 16):
            pass
        asking -= 1

    async def work(known: Usages, runners: list[Any]) -> None:
        def rest() -> list[float]:
            return [each.next_at for each in known._known.values() if each.asking is None]

        assert await known.read(runners) == {}
        await until(lambda: len(rest()) == len(runners) and not asking)
        asked_again = rest()
        assert min(asked_again) > time.monotonic()
        assert await known.read(runners) == {}
        assert rest() == asked_again

    with_runners(plane, Agent(hold), 40, work)
    # The next may come before an agent has seen that the last is gone.
    assert most <= 2 * usages._AT_ONCE


@pytest.mark.parametrize(
    "sent",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        answer(b"[]"),
        answer(b"["),
        answer(b"[" * 16_000),
        answer(b'{"node": "' + b"x" * (1 << 20) + b'"}'),
        b"",
    ],
)
def test_answer_that_is_none(plane: Any, sent: bytes):
    """What is no answer, or a large one, is not shown."""

    async def work(known: Usages, runners: list[Any]) -> Any:
        return await known.read(runners)

    assert with_runners(plane, Agent(answering(sent)), 1, work) == {}


def test_agent_that_never_answers_is_asked_less_and_less(
    plane: Any, monkeypatch: pytest.MonkeyPatch
):
    """After each answer that is none, it takes twice as long until an agent is asked again."""
    monkeypatch.setattr(usages, "_AGAIN", 0.05)
    monkeypatch.setattr(usages, "_PAUSE", 0.0)
    asked: list[float] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(time.monotonic())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async def work(known: Usages, runners: list[Any]) -> None:
        while len(asked) < 5:
            assert await known.read(runners) == {}
            await asyncio.sleep(0.01)

    with_runners(plane, Agent(refuse), 1, work)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert all(pause >= 0.05 * 2**turn for turn, pause in enumerate(pauses)), pauses


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"memory": -1}, {"memory": None}),
        ({"memory": True, "limit": 1.5}, {"memory": None, "limit": None}),
        ({"memory": 1 << 60}, {"memory": None}),
        ({"node": "a\nb"}, {"node": ""}),
        ({"node": "n" * 1000}, {"node": "n" * 80}),
        ({"node": ["n"]}, {"node": ""}),
        ({"gpus": {"a": 1}}, {"gpus": []}),
        ({"gpus": [1, None, []]}, {"gpus": []}),
    ],
)
def test_answer_is_shown_as_far_as_it_can_be(told: Any, shown: Mapping[str, Any]):
    """What is no number of bytes, or no name, counts as unknown."""
    found = read_usage(json.dumps(told).encode())
    assert {name: found[name] for name in shown} == shown


def test_so_many_gpus_are_shown():
    """Of more GPUs than a machine has, some are shown, each as far as it is told."""
    gpu = {"name": "H100", "used": 1, "memory": 2, "busy": 101, "more": "x"}
    found = read_usage(json.dumps({"gpus": [gpu] * 1000}).encode())
    assert found["gpus"] == [{"name": "H100", "used": 1, "memory": 2, "busy": None}] * 16
