"""The agent's own connections, which forked children must not keep open."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fal_host_serverless.far_end import agent_sockets

#: Has a connection of its own and one that came later, and forks.
FORKING = """
import os, socket

own = socket.socketpair()
close_in_children()
later = socket.socketpair()
# Its descriptor is that of a connection of the agent, and it is another one.
replaced = own[1].fileno()
os.dup2(later[1].fileno(), replaced)

child = os.fork()
if child == 0:
    numbers = (own[0].fileno(), replaced, later[0].fileno())
    kept = [number in sockets() for number in numbers]
    os._exit(0 if kept == [False, True, True] else 1)
assert os.waitpid(child, 0)[1] == 0
assert own[0].fileno() in sockets()
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="there is no /proc here"
)


def test_sockets_are_found_among_the_open_files(tmp_path: Path):
    """Each open socket has a name of its own, and other files are left out."""
    with (
        (tmp_path / "file").open("w") as file,
        socket.socket() as one,
        socket.socket() as other,
    ):
        found = agent_sockets.sockets()
        assert found[one.fileno()].startswith("socket:")
        assert found[one.fileno()] != found[other.fileno()]
        assert file.fileno() not in found
        number = one.fileno()
        one.close()
        assert number not in agent_sockets.sockets()


def test_children_close_the_connections_of_their_agent_alone():
    """A child closes what was open when the agent began; sockets of the function stay open."""
    source = Path(agent_sockets.__file__).read_text()
    # It travels as source, to where there is the standard library alone.
    command = [sys.executable, "-I", "-S", "-c", source + FORKING]
    subprocess.run(command, check=True, timeout=60)
