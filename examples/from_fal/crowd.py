"""Concurrency: requests that one runner answers at once, and how many runners there are."""

from __future__ import annotations

import asyncio

import fal_compat as fal


@fal.cached
def load_table() -> dict[str, int]:
    return {"loaded": 1}


class Crowd(fal.App, keep_alive=300, max_multiplexing=4):
    machine_type = "S"
    min_concurrency = 0
    max_concurrency = 1
    concurrency_buffer = 0

    async def setup(self):
        self.here = 0
        self.complete = asyncio.Event()

    @fal.endpoint("/meet")
    async def meet(self, others: int) -> dict[str, int]:
        # It answers when so many requests are here at the same time.
        self.here += 1
        if self.here >= others:
            self.complete.set()
        await self.complete.wait()
        load_table()["loaded"] += 1
        return {"here": self.here}

    def provide_hints(self) -> list[str]:
        return ["crowd"]
