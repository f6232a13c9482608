"""Sockets: how those of runners are named."""

from __future__ import annotations

from fal_server_agent.networks.sockets import url_of


def test_url_of_a_socket():
    """The URL of a socket has its path, unchanged."""
    assert url_of("/data/sockets/one/run") == "unix:/data/sockets/one/run"
