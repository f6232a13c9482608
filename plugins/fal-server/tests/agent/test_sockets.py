"""
Sockets: those of a runner can be reached however long the path of the data directory is.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fal_server_agent.sockets import address_of, url_of


@pytest.mark.parametrize("depth", [0, 200])
def test_socket_of_a_deep_directory(tmp_path: Path, depth: int):
    """
    A path that is too long for the address of a socket is shortened on both sides.
    """
    folder = tmp_path / ("d" * depth or "data") / "sockets" / "0123456789abcdef"
    folder.mkdir(parents=True)
    path = str(folder / "control")
    assert url_of(path) == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(address_of(path))
        server.listen()
        assert Path(path).is_socket()
        client.connect(address_of(path))


def test_short_path_is_the_address():
    """
    A path that is short enough stays as it is.
    """
    assert address_of("/data/sockets/one/run") == "/data/sockets/one/run"
