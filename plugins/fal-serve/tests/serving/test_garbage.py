"""Garbage collection: the objects of a service are frozen, and freed once they are dropped."""

from __future__ import annotations

import subprocess
import sys

from fal_serve import App, endpoint

PREFACE = """
import asyncio, gc, sys, weakref
from fal_serve.serving.garbage import frozen

class Node:
    def __init__(self):
        self.own = self

gc.collect()
"""


def run(body: str) -> None:
    """Run a program in a process of its own, as the collector belongs to the whole process."""
    done = subprocess.run(
        [sys.executable, "-c", PREFACE + body], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


class Counted(App, kind="current"):
    @endpoint("/")
    def count(self) -> int:
        import gc

        return gc.get_freeze_count()


def test_what_a_service_is_made_of_is_frozen(serve):
    """The objects of a service are frozen after its setup."""
    assert serve(Counted).post("/").json() > 10_000


def test_what_was_replaced_is_freed():
    """A frozen cycle that was dropped is freed when Python would free it."""
    run("""
async def main():
    node = Node()
    known = weakref.ref(node)
    async with frozen(0.01):
        del node
        gc.collect()
        assert known() is not None, "it was not frozen"
        # Until the thawed garbage is collected.
        while known() is not None:
            await asyncio.sleep(0.01)
        assert gc.get_freeze_count()
    assert not gc.get_freeze_count()

asyncio.run(main())
""")


def test_nothing_is_looked_at_where_nothing_was_collected():
    """In an idle service, nothing is collected."""
    run("""
async def main():
    gc.set_threshold(0)
    async with frozen(0.01):
        before = gc.get_stats()[2]["collections"]
        # Many intervals, in which nothing must be collected.
        await asyncio.sleep(0.2)
        assert gc.get_stats()[2]["collections"] == before

asyncio.run(main())
""")


def test_collectors_of_others_are_left_alone():
    """An application's own settings of the collector are kept."""
    run("""
async def off():
    gc.disable()
    async with frozen():
        assert not gc.get_freeze_count()
    gc.enable()

async def own():
    gc.freeze()
    before = gc.get_freeze_count()
    async with frozen():
        assert gc.get_freeze_count() == before
    assert gc.get_freeze_count() == before

asyncio.run(off())
asyncio.run(own())
""")
