"""Large queues: many requests that wait, and requests with large bodies and responses."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from process_memory import memory_of, peak_of

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Memory and processor time are read from /proc."
)

#: How many requests wait in a long queue.
MANY = 50_000

#: The size of a large body, in bytes, and how many of them there are.
LARGE, SOME = 40 << 20, 3


def time_of(pid: int) -> float:
    """Return the processor time that a process has taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def pid_of(standing: Any) -> int:
    pid: int = standing.plane.program.process.pid
    return pid


def occupy(standing: Any, name: str) -> str:
    """Deploy an application, and return the request that its runner has."""
    standing.deploy(name)
    held: str = standing.submit(f"{name}/hold", {"gate": name})
    standing.begin(name, held)
    return held


def test_large_bodies_take_no_memory(standing: Any):
    """
    Requests with large bodies take no memory while they wait, nor while they are given to a
    runner; nor do their responses, which arrive as they were.
    """
    held = occupy(standing, "large")
    before = memory_of(pid_of(standing))
    requests = {}
    with standing.client() as client:
        for number in range(SOME):
            text = f"{number}" * (LARGE // len(f"{number}"))
            requests[standing.submit("large", {"text": text})] = str(number)
        assert peak_of(pid_of(standing)) - before < LARGE
        standing.open("large")
        standing.finish("large", held)
        for request, letter in requests.items():
            url = f"/owner/large/requests/{request}"
            standing.settle(lambda url=url: client.get(f"{url}/status").status_code == 200)
            text = json.loads(client.get(url).content)["told"]["text"]
            assert (len(text), {*text}) == (LARGE, {letter})
    assert peak_of(pid_of(standing)) - before < LARGE
    # The bodies are gone, and the responses are there.
    folder = standing.plane.data / "requests"
    names = {f"{request}.1.answer" for request in requests}
    standing.settle(lambda: {path.name for path in folder.iterdir()} == names)


def submit_some(standing: Any, count: int = 300) -> float:
    """Submit requests, and return the processor time that the server took."""
    began = time_of(pid_of(standing))
    with standing.client() as client:
        for _ in range(count):
            assert client.post("/owner/long", json={}).status_code == 200
    return time_of(pid_of(standing)) - began


def add_many(data: Path) -> None:
    """Have as many requests wait in the database of a server that does not run."""
    with closing(sqlite3.connect(data / "state.db")) as connection:
        connection.row_factory = sqlite3.Row
        query = "select * from requests where state = 'queued' order by number desc limit 1"
        last = dict(connection.execute(query).fetchone())
        names = ", ".join(last)
        values = ", ".join(f":{name}" for name in last)
        rows = (
            {**last, "id": str(uuid.uuid4()), "number": last["number"] + each}
            for each in range(1, MANY + 1)
        )
        with connection:
            connection.executemany(f"insert into requests ({names}) values ({values})", rows)


def test_start_with_many_requests(standing: Any):
    """
    A server that starts with very many requests takes little time and memory for each. To
    submit another costs what it costs with few.
    """
    occupy(standing, "long")
    with_few = submit_some(standing)
    standing.plane.kill()
    standing.plane.start()
    start, memory = time_of(pid_of(standing)), memory_of(pid_of(standing))
    standing.plane.kill()
    add_many(standing.plane.data)
    standing.plane.start()
    try:
        # A whole request takes more than seven KiB, and a tenth of a millisecond.
        assert memory_of(pid_of(standing)) - memory < MANY * 1024
        assert time_of(pid_of(standing)) < 2 * start + 0.5
        assert submit_some(standing) < 2 * with_few + 0.3
        newest = standing.submit("long")
        assert standing.status("long", newest).json()["queue_position"] > MANY
        with standing.plane.client() as client:
            assert client.delete("/applications/owner/long/queue").status_code == 200
        assert standing.status("long", newest).json()["error_type"] == "client_cancelled"
    finally:
        standing.open("long")
