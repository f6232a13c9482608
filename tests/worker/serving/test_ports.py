"""Ports of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fal_core_worker.serving import ports


def test_a_free_port_is_not_given_to_others():
    """A program that asks the system for any port never gets the one that was found free."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not given.exists():
        pytest.skip("This system does not tell which ports it gives away.")
    first, last = map(int, given.read_text().split())
    if first <= 20000:
        pytest.skip("This system gives away nearly all ports.")

    found = set()
    for _ in range(50):
        found.add(port := ports.free_port())
        # Only the last ones are kept from being found, and taken, by another process.
        assert ports.is_free(port)

    assert len(found) > 1
    assert not any(first <= port <= last for port in found)


def test_a_taken_port_is_not_found(monkeypatch):
    """A port that somebody listens at is passed over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "_LOWEST", taken)
        monkeypatch.setattr(ports, "_first_assigned", lambda: taken + 1)

        assert ports.free_port() != taken


def test_a_port_that_another_process_has_found_is_passed_over():
    """Two processes that look for a port at once find different ones, used or not."""
    first = ports.free_port()
    script = f"""
import sys
from fal_core_worker.serving import ports

first, last = {first}, {first} + 2
ports._LOWEST, ports._first_assigned = first, lambda: last
print(ports.is_free(first), *{{ports.free_port() for _ in range(20)}})
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    is_free, *found = done.stdout.split()

    assert is_free == "True"
    assert str(first) not in found


def test_without_reserved_ports_the_system_assigns_one(monkeypatch):
    """If no port is reserved for servers, the system assigns one."""
    monkeypatch.setattr(ports, "_first_assigned", lambda: 1024)

    assert ports.is_free(ports.free_port())


def test_a_claimed_port_names_its_service():
    """A port that a service has claimed is claimed again once the service has ended."""
    port = ports.free_port()
    held = ports.claim(port, "first", "local-1")
    with pytest.raises(ports.PortHeld, match=r"^the function 'first' \(local-1\)$"):
        ports.claim(port, "second", "local-2")
    os.close(held)
    os.close(ports.claim(port, "second", "local-2"))


def test_a_port_of_another_process_is_not_claimed():
    """A port that somebody listens at is described by the process, and can be claimed later."""
    port = ports.free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(ports.PortHeld, match=rf"^process {os.getpid()} \("),
    ):
        ports.claim(port, "service", "local-1", address="127.0.0.1")
    os.close(ports.claim(port, "service", "local-1", address="127.0.0.1"))
