"""
The agent of a node: it builds environments, and starts workers.

Lines of its standard input tell it which workers are asked for, each with a token that nobody
else knows. It listens at a port of its node for connections of the process that wants them.
The first line of each says the token and what it is for:

- ``control``: there is one. Lines of JSON go to the caller: what the build says, that the
  worker can be started, what it prints, and its exit code. Lines from the caller end it.
- ``stream``: there is one. The worker has it as its standard input and output. Where it is a
  local socket, it may be followed by a byte with descriptors, which the worker inherits; the
  caller is told their numbers.
- ``forward PORT``: bytes to and from a port of this node that a service listens on. A service
  that takes connections from others is given this one.
- ``await PORT``: a ``+`` once a service listens there.

A worker ends with its connection for control, and everything with the standard input.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO, Any

from fal_core.nodes.greetings import GREETING, read_greeting
from fal_core.nodes.local_sockets import listen_locally, make_name
from fal_core.nodes.node_processes import NodeProcess

#: Seconds before the next connection, after one that could not be accepted.
_PAUSE = 0.1
#: How many connections may be about to say who they are.
_STRANGERS = 256
#: Why a worker ended that nobody has asked to, unless the agent is told another reason.
_ABANDONED = "What has started the agent of the node is gone."


class Agent:
    """The workers of this node, and those who connect for them."""

    def __init__(self, address: str, abandoned: str = _ABANDONED) -> None:
        self.abandoned: str = abandoned
        self.listener: socket.socket = socket.create_server((address, 0), backlog=_STRANGERS)
        self.local_name: str = make_name()
        self.local_listener: socket.socket | None = listen_locally(self.local_name, _STRANGERS)
        self.strangers: threading.BoundedSemaphore = threading.BoundedSemaphore(_STRANGERS)
        self.workers: dict[bytes, NodeProcess] = {}
        self.changed: threading.Condition = threading.Condition()

    def hear(self, lines: IO[bytes]) -> None:
        """Take what is asked for until nobody is there, and end everything then."""
        for line in lines:
            told = json.loads(line)
            if "end" in told:
                with self.changed:
                    known = self.workers.get(_key(told["end"].encode()))
                if known is not None:
                    threading.Thread(target=known.end, daemon=True).start()
                continue
            worker = NodeProcess(told)
            key = _key(told["token"].encode())
            with self.changed:
                self.workers[key] = worker
                self.changed.notify_all()
            threading.Thread(target=self._run, args=(key, worker), daemon=True).start()
        with self.changed:
            left = list(self.workers.values())
        ends = [threading.Thread(target=each.end, args=(self.abandoned,)) for each in left]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    def listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                # There are too many open files, or nobody is there any more.
                time.sleep(_PAUSE)
                continue
            if not self.strangers.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _run(self, key: bytes, worker: NodeProcess) -> None:
        try:
            worker.run()
        finally:
            with self.changed:
                del self.workers[key]
            worker.close()

    def _greet(self, connection: socket.socket) -> None:
        try:
            token, purpose = read_greeting(connection)
            # It is a stranger until its token is known.
            worker = self._find_worker(token) if token else None
        except OSError:
            worker = None
        finally:
            self.strangers.release()
        if worker is None or not worker.take(connection, purpose):
            connection.close()

    def _find_worker(self, token: bytes) -> NodeProcess | None:
        # The caller may be quicker than what asks for it.
        key = _key(token)
        with self.changed:
            self.changed.wait_for(lambda: key in self.workers, GREETING)
            return self.workers.get(key)


def _key(token: bytes) -> bytes:
    # How long a look-up takes says nothing of a token.
    return hashlib.sha256(token).digest()


def main(told: Mapping[str, Any]) -> None:
    """
    Run the agent for what is at the other end of standard input.

    Arguments:
        told: The ``address`` of this node to listen at; with ``abandoned``, why workers end
            once nobody is there.
    """
    agent = Agent(told["address"], told.get("abandoned", _ABANDONED))
    facts = {
        "port": agent.listener.getsockname()[1],
        "node": socket.gethostname(),
        "local_name": agent.local_name,
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    for listener in (agent.listener, agent.local_listener):
        if listener is not None:
            threading.Thread(target=agent.listen, args=(listener,), daemon=True).start()
    agent.hear(sys.stdin.buffer)
    os._exit(0)
