"""Network namespaces that commands join by their path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fal_core.environments import Command
from fal_core_worker.serving import networks
from fal_host_local.workers.joined_networks import NAMESPACE, make_network
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.skipif(
    networks.missing() != "", reason="pasta or user namespaces are missing"
)

PATIENCE = 60.0

#: Enters the namespace, and tells which ports of the loopback address answer there.
ASK = """
import ctypes, json, os, socket, sys
holder = int(sys.argv[1].split("/")[2])
library = ctypes.CDLL(None, use_errno=True)
for kind, flag in (("user", 0x10000000), ("net", 0x40000000)):
    descriptor = os.open(f"/proc/{holder}/ns/{kind}", os.O_RDONLY)
    assert not library.setns(descriptor, flag), os.strerror(ctypes.get_errno())
found = []
for port in sys.argv[2:]:
    try:
        socket.create_connection(("127.0.0.1", int(port)), 10).close()
        found.append(int(port))
    except OSError:
        pass
print(json.dumps([holder, os.readlink("/proc/self/ns/net"), found]), flush=True)
sys.stdin.read()
"""


class Handler(BaseHTTPRequestHandler):
    pass


def test_only_named_ports_are_reached_and_nothing_is_left():
    """
    The namespace leads to the named ports of this machine and to no others. Its holder has
    none of the command's descriptors, and ends with the command, even if that is killed.
    """
    servers = [HTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    named, other = (server.server_port for server in servers)
    asked = (sys.executable, "-c", ASK, NAMESPACE, str(named), str(other))
    process = subprocess.Popen(
        make_network(Command(argv=asked), [named]).argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        holder, network, reached = json.loads(process.stdout.readline())
        assert network != os.readlink("/proc/self/ns/net")
        assert reached == [named]
        assert [*Path(f"/proc/{holder}/fd").iterdir()] == []
    finally:
        process.kill()
        process.communicate()
        for server in servers:
            server.shutdown()
            server.server_close()
    assert wait_until(lambda: not Path(f"/proc/{holder}").exists(), PATIENCE)
