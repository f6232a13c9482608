"""
The supervisor of detached work on a node: it builds the environment, runs the call in a worker
of its own, and lets callers follow it.

It listens at a port of its node. The first line of a connection says a token, which those know
whom Ray tells of the work, and what it is for:

- ``follow``: what a follower of any supervisor sends and is sent.
- ``forward PORT`` and ``await PORT``: as with the agent of a worker.

Everything ends with the actor that started it.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import pickle
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from fal_core.detached import Supervisor, write_status
from fal_core.hosts import Capabilities
from fal_core.machines import Machine
from fal_core.nodes import CONNECTIONS, lead_to_port, make_name, read_greeting
from fal_core.options import HostOptions
from fal_core.pools import Start, WorkerHost
from fal_core.workers import ARGUMENTS, Worker
from fal_host_ray.options import RayOptions

#: How many may be about to say who they are.
_STRANGERS = 64


@attrs.define(eq=False, slots=False)
class NodeHost(WorkerHost[..., Any]):
    """
    Runs calls in workers on this node.

    Attributes:
        machine: What the workers are given. None for what the node has.

        secrets: What they are sent before anything runs there.
    """

    name: ClassVar[str] = "ray"
    options: ClassVar[type[HostOptions]] = RayOptions
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, keep_alive=True, multiplex=True, serve=True
    )

    machine: Machine | None = None
    secrets: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    def begin(self, start: Start) -> Worker:
        name = f"fal-core-{os.getpid()}-{os.urandom(4).hex()}"
        command = start.build().command(ARGUMENTS, machine=self.machine, name=name)
        worker = Worker.start(command, directory=os.path.expanduser("~"))
        if self.secrets:
            worker.send_secrets(self.secrets)
        return worker


class NodeSupervisor(Supervisor):
    """
    A supervisor whose followers are on other machines.

    Arguments:
        listener: Accepts them.

        token: What they show.
    """

    def __init__(self, directory: Path, listener: socket.socket, token: str) -> None:
        super().__init__(directory)
        self._listener = listener
        self._token = token.encode()
        self._strangers = threading.BoundedSemaphore(_STRANGERS)

    def listen(self) -> socket.socket:
        return self._listener

    def greet(self, connection: socket.socket) -> bool:
        if not self._strangers.acquire(blocking=False):
            connection.close()
            return False
        try:
            token, purpose = read_greeting(connection)
        finally:
            self._strangers.release()
        if not hmac.compare_digest(token, self._token):
            connection.close()
            return False
        if purpose == b"follow":
            return True
        if not lead_to_port(connection, purpose, os.environ[CONNECTIONS]):
            connection.close()
        return False


def write_record(told: dict[str, Any], call: bytes) -> Path:
    """Write the record of work on this node, and return its directory."""
    directory = Path(tempfile.mkdtemp(prefix="fal-core-ray-"))
    status = {"name": told["name"], "owner": told["owner"], "started": time.time()}
    if told["largest"] is not None:
        status["largest"] = told["largest"]
    write_status(directory, status)
    (directory / "journal").touch()
    (directory / "call").write_bytes(call)
    return directory


def main(told: dict[str, Any]) -> None:
    """Run the work that *told* describes, and whose call is on standard input."""
    known, _, call = sys.stdin.buffer.read(told["size"]).partition(b"\n")
    directory = write_record(told, call)
    machine = pickle.loads(base64.b64decode(told["machine"]))
    listener = socket.create_server((told["address"], 0), backlog=128)
    os.environ[CONNECTIONS] = make_name()
    host = NodeHost(machine, json.loads(known))

    def end_with_actor() -> None:
        sys.stdin.buffer.read()
        host.close()
        os._exit(1)

    threading.Thread(target=end_with_actor, daemon=True).start()
    facts = {"port": listener.getsockname()[1], "node": socket.gethostname()}
    sys.stdout.write(json.dumps({**facts, "directory": str(directory)}) + "\n")
    sys.stdout.flush()
    NodeSupervisor(directory, listener, told["token"]).run(lambda: host)
    sys.stderr.flush()
    os._exit(0)
