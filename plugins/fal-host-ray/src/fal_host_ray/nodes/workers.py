"""
Workers on nodes, as the process that calls them sees them.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import secrets
import socket
import threading
from contextlib import suppress
from typing import IO, Any

from fal_core.environments import python_problem
from fal_core.errors import (
    Cancelled,
    FalCoreError,
    HostError,
    OutOfMemory,
    WorkerLost,
)
from fal_core.events import Log, State
from fal_core.pools import Start
from fal_core.workers import Worker
from fal_host_ray.cluster.launchers import Actor
from fal_host_ray.nodes.watched_sockets import watch_peer

#: Seconds that a node may take to be reached.
_REACH = 20.0
#: Seconds that Ray may take to tell that a node is gone.
_NEWS = 20.0


def agent_request(start: Start, machine: object) -> dict[str, str]:
    """
    Return what an agent is told for *start*, as values for JSON.
    """
    return {
        "token": secrets.token_hex(32),
        "environment": base64.b64encode(pickle.dumps(start.environment)).decode(),
        "machine": base64.b64encode(pickle.dumps(machine)).decode(),
    }


class NodeWorker:
    """
    A worker on a node, and the two connections to it.

    Arguments:
        address: Where its agent listens.

        token: What the agent knows this process by.
    """

    def __init__(self, actor: Actor, address: tuple[str, int], token: str) -> None:
        self.actor = actor
        self.address = address
        self._token = token
        self._control: IO[bytes] | None = None
        self._gone = threading.Event()
        self._exited: dict[str, Any] | None = None
        self._said = ""

    def begin(self, start: Start) -> Worker:
        """
        Have the environment built, and return the worker in it.
        """
        control = self.connect("control")
        self._control = control.makefile("rwb", buffering=0)
        self._build(start)
        stream = self.connect("stream")
        descriptor = stream.detach()
        worker = Worker(
            descriptor,
            descriptor,
            lost=self.why_lost,
            kill=self.kill,
            wait=self._gone.wait,
            settings={"relayed": True},
        )
        threading.Thread(
            target=self._watch, args=(worker,), name="fal-core ray worker", daemon=True
        ).start()
        return worker

    def connect(self, purpose: str) -> socket.socket:
        """
        Open a connection to the agent.

        Raises:
            HostError: The node cannot be reached.
        """
        try:
            connection = socket.create_connection(self.address, _REACH)
        except OSError as error:
            raise HostError(
                f"Node {self.actor.node!r} cannot be reached at "
                f"{self.address[0]}:{self.address[1]}: {error.strerror or error}."
            ) from error
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch_peer(connection)
        connection.sendall(f"{self._token} {purpose}\n".encode())
        return connection

    def kill(self) -> None:
        """
        End the worker and all that it has started.
        """
        control = self._control
        if control is not None:
            with suppress(OSError, ValueError):
                control.write(b'{"end": true}\n')
        threading.Timer(0, self.actor.end).start() if control is None else None

    def why_lost(self) -> HostError:
        """
        Return why the worker was lost.
        """
        self._gone.wait(10)
        exited = self._exited
        if exited is not None:
            code = exited["exited"]
            from fal_core.workers.stopping import reason_of_exit

            return reason_of_exit(code, self._said)
        ended = self.actor.await_end(_NEWS)
        node = f"Node {self.actor.node!r}"
        if ended is not None and ended["event"] == "lost":
            return WorkerLost(detail=f"{node}: {ended['why']}")
        return WorkerLost(detail=f"{node} broke its connection.")

    def _build(self, start: Start) -> None:
        assert self._control is not None
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                if start.cancelled.wait(0.1):
                    self.kill()
                    return

        threading.Thread(target=watch, name="fal-core ray build", daemon=True).start()
        try:
            for line in self._control:
                facts = json.loads(line)
                if "built" in facts:
                    problem = python_problem(facts["built"])
                    if problem:
                        raise HostError(problem)
                    start.report(State("starting"))
                    return
                self._pass_on(facts, start)
        finally:
            done.set()
        if start.cancelled.is_set():
            raise Cancelled
        raise self.why_lost()

    def _pass_on(self, facts: dict[str, Any], start: Start) -> None:
        if facts.get("state") == "building":
            start.report(State("building"))
        elif "log" in facts:
            message, level, source, when = facts["log"]
            start.report(Log(message, level, source, when))
        elif "failed" in facts:
            error = pickle.loads(base64.b64decode(facts["failed"]))
            assert isinstance(error, FalCoreError)
            raise error
        elif "refused" in facts:
            raise HostError(f"Node {self.actor.node!r}: {facts['refused']}")

    def _watch(self, worker: Worker) -> None:
        assert self._control is not None
        with suppress(OSError, ValueError):
            for line in self._control:
                facts = json.loads(line)
                if "said" in facts:
                    self._said = f"{self._said}{facts['said']}\n"[-4096:]
                    worker.say(facts["said"])
                elif "exited" in facts:
                    self._exited = facts
                    break
        self._gone.set()
        self.actor.end()
        worker.close()
        with suppress(OSError):
            self._control.close()
        self.actor.forget()
