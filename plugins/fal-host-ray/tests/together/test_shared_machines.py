"""Calls and services on a node that is this machine: nothing is passed on, and memory is shared."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

import pytest

from fal_core import function
from fal_host_ray import RayHost

PATIENCE = 60.0
#: Bytes: more than goes over the stream.
SIZE = 8 << 20


def find_memory(data: bytes) -> tuple[int, list[str]]:
    """Return how much came, and the files that the worker shares with its caller."""
    with open("/proc/self/maps") as lines:
        shared = {line.split()[-2] for line in lines if "memfd:fal-core" in line}
    return len(data), sorted(shared)


def test_large_values_go_through_shared_memory(ray_host: RayHost) -> None:
    """The worker has mapped memory that its caller has made."""
    length, mapped = function("current", host=ray_host)(find_memory)(bytes(SIZE))
    assert length == SIZE
    assert mapped


def list_ports() -> list[int]:
    """Return the ports at the other ends of the connections of this process."""
    import os

    own = set()
    for each in os.listdir("/proc/self/fd"):
        try:
            own.add(os.readlink(f"/proc/self/fd/{each}"))
        except FileNotFoundError:
            pass
    with open("/proc/self/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [int(row[2].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in own]


@pytest.mark.parametrize("lifetime", ["attached", "detached"])
def test_a_service_has_the_connections_of_its_callers(ray_host: RayHost, lifetime: Any) -> None:
    """Who comes through a tunnel speaks to the service itself: its node passes nothing on."""
    pytest.importorskip("fal_serve", reason="Services are those of fal-serve.")
    serving = function("virtualenv", host=ray_host, serve=True)(list_ports)
    spawned = serving.with_policy(lifetime=lifetime).spawn()
    try:
        assert spawned.await_url(PATIENCE), spawned.logs
        url = str(spawned.url)
        tunnel = ray_host.find_tunnel(url)
        assert tunnel is not None
        with socket.create_connection((tunnel.host, tunnel.port), PATIENCE) as connection:
            head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close"
            connection.sendall(tunnel.greeting + f"{head}\r\n\r\n".encode())
            answer = connection.makefile("rb").read()
            ports = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert connection.getsockname()[1] in ports
        request = urllib.request.Request(url, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            assert isinstance(json.load(response), list)
    finally:
        spawned.cancel()
