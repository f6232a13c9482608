"""The application that is served: what the peers do, with this project."""

# Annotations are types here, as in the peers.
import os
import time

from benchmarks.peers.models import Order, Picture, paint
from fal_serve import App, endpoint


class Painter(App, kind="current", keep_alive=600):
    @endpoint("/sync")
    def answer(self, order: Order) -> Picture:
        return paint(order)

    @endpoint("/async")
    async def answer_async(self, order: Order) -> Picture:
        return paint(order)

    @endpoint("/batch", max_batch_size=64)
    def answer_batch(self, *orders: Order) -> list[dict[str, int]]:
        time.sleep(0.005)
        return [{"seed": order.seed + 1} for order in orders]

    @endpoint("/pid")
    async def tell_pid(self) -> int:
        return os.getpid()
