"""Replicas: control planes on one PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter

from benchmarks.databases import database
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.loads import ask, describe_client
from benchmarks.peers.bodies import BODY
from benchmarks.planes import control_plane, deployed, wait_until
from benchmarks.services import post

_HERE = "benchmarks.replicas:"

#: What these figures need to be installed.
_NEEDS = ("fal_server", "fal_host_serverless", "fal_serve", "psycopg")

SQLITE = "SQLite"


@contextmanager
def replica_options() -> Iterator[tuple[str, ...]]:
    """Yield the options with which servers become replicas of each other."""
    with (
        database("postgresql") as options,
        tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as files,
    ):
        yield (*options, "--files", f"file://{files}")


@contextmanager
def submissions(connections: int, seconds: float) -> Iterator[Measure]:
    """Submit requests to two replicas as fast as they are taken; every one of them is answered."""
    with (
        replica_options() as options,
        deployed(*options) as first,
        control_plane(*options, is_another=True) as second,
        ThreadPoolExecutor(2) as threads,
    ):
        answered = 1

        def measure() -> float:
            nonlocal answered
            loads = [
                threads.submit(
                    ask,
                    f"{plane.url('FAL_QUEUE_RUN_HOST')}/sync",
                    BODY,
                    connections=connections // 2,
                    seconds=seconds,
                )
                for plane in (first, second)
            ]
            rate = sum(load.result().rate for load in loads)
            answered += int(rate * seconds * 0.99)
            wait_until(lambda: int(post(f"{first.url()}/answered", None)) >= answered)
            return rate

        yield measure


@contextmanager
def takeover() -> Iterator[Measure]:
    """Kill the replica that decides, and send a request to the other one."""
    with replica_options() as options, contextlib.ExitStack() as stack:
        decides = stack.enter_context(deployed(*options))

        def measure() -> float:
            nonlocal decides
            other = control_plane(*options, is_another=True)
            killed, decides = decides, stack.enter_context(other)
            post(f"{decides.url()}/sync", BODY)
            began = perf_counter()
            os.kill(killed.pid, signal.SIGKILL)
            post(f"{decides.url()}/sync", BODY)
            return perf_counter() - began

        yield measure


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    load = {"connections": 16, "seconds": 2.0 if quick else 4.0}
    return [
        Figure(
            name="queue-submissions-replicas",
            title="queue: durable submissions to two replicas on one PostgreSQL",
            unit="requests/s",
            note=f"16 connections, {describe_client()}; every one is answered, and on disk",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=f"{_HERE}submissions",
                    settings=load,
                    role="fal-core",
                    needs=_NEEDS,
                    pinned=False,
                ),
                Contestant(
                    name=SQLITE,
                    target="benchmarks.control_plane:queue_submissions",
                    settings=load,
                    role="reference",
                    needs=_NEEDS[:3],
                    pinned=False,
                ),
            ),
            goals=(Goal(against=SQLITE, factor=0.7, at_least=True),),
        ),
        Figure(
            name="takeover",
            title="the replica that decides is killed: a request to another is answered",
            unit="s",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=f"{_HERE}takeover",
                    role="fal-core",
                    needs=_NEEDS,
                    pinned=False,
                ),
            ),
            goals=(Goal(plus=5.0),),
        ),
    ]
