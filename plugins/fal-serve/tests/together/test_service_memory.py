"""The memory of a service does not grow with its requests."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from fal_serve import App, endpoint

PATIENCE = 60

#: Requests after which nothing of them may be left.
MANY = 10_000 if os.environ.get("FAL_CORE_FAULTS") == "all" else 3_200


class Item(BaseModel):
    text: str
    numbers: list[int]


class Holding(App, kind="current", keep_alive=600):
    @endpoint("/plain")
    def plain(self, item: Item) -> Item:
        print(item.text)
        return item

    @endpoint("/async")
    async def asynchronous(self, item: Item) -> Item:
        return item

    @endpoint("/batch", max_batch_size=8)
    def batch(self, *items: Item) -> list[Item]:
        return list(items)

    @endpoint("/held")
    async def held(self) -> dict[str, int]:
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return {
            "objects": len(gc.get_objects()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        }


@pytest.fixture(scope="module")
def holding():
    service = Holding.spawn()
    yield service
    service.cancel()
    service.future.exception(PATIENCE)


def ask(service: Any, path: str, count: int) -> None:
    """Send *count* requests over eight connections, a tenth of them invalid."""
    good = {"text": "a line that is printed", "numbers": list(range(20))}

    async def client() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as http:
            for number in range(count // 8):
                wrong = number % 10 == 9
                answer = await http.post(path, json={"text": 1} if wrong else good)
                assert answer.status_code == (422 if wrong else 200)
                # What arrives here is no matter of the service's.
                while not service.logs.empty():
                    service.logs.get_nowait()

    async def main() -> None:
        await asyncio.gather(*(client() for _ in range(8)))

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/plain", "/async", "/batch"])
def test_nothing_is_kept_of_requests(holding, path):
    """
    After thousands of requests there are no more objects, descriptors, tasks or threads, and
    the memory of the process is the same, give or take 4 MiB.
    """

    def held() -> dict[str, int]:
        answer: dict[str, int] = httpx.post(f"{holding.url}/held", timeout=PATIENCE).json()
        return answer

    def is_kept(grown: dict[str, int]) -> bool:
        return not (
            # Threads that wait for calls are kept, each with a task; there are few.
            grown["threads"] <= 8
            and grown["tasks"] <= 8 + grown["threads"]
            and grown["descriptors"] <= 2
            and grown["objects"] < MANY / 10
            and grown["memory"] < 4 << 20
        )

    ask(holding, path, 1_600)
    rounds = []
    # What a busy machine has had to be held at once is not held again; a leak grows on.
    while not rounds or (is_kept(rounds[-1]) and len(rounds) < 3):
        before = held()
        ask(holding, path, MANY)
        after = held()
        rounds.append({name: after[name] - before[name] for name in before})
    assert not is_kept(rounds[-1]), rounds
