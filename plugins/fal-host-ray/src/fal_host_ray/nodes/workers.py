"""
Workers on nodes, as the process that calls them sees them.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import secrets
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from fal_core.environments import python_problem
from fal_core.errors import (
    Cancelled,
    FalCoreError,
    HostError,
    OutOfMemory,
    WorkerLost,
)
from fal_core.events import Log, State
from fal_core.machines import Machine
from fal_core.pools import Start
from fal_core.workers import Arenas, Worker, reason_of_exit
from fal_host_ray.cluster.launchers import Actor
from fal_host_ray.nodes.agent_addresses import AgentAddress

#: Seconds between two looks at whether a worker is wanted.
_TURN = 0.1
#: Seconds that Ray has to tell why a connection broke. It tells the end of a process at
#: once, and that of a node after 14 seconds, for which nobody waits.
_NEWS = 2.0
#: Seconds that an agent has to end its worker, until Ray ends the agent.
_PATIENCE = 15.0
#: Bytes: so much of what a process has printed last is in the error.
_SAID = 4096


def agent_request(start: Start, machines: Sequence[Machine]) -> dict[str, str]:
    """
    Return what an agent is told for *start*, as values for JSON.

    Arguments:
        machines: Those that the launcher chooses of.
    """
    return {
        "token": secrets.token_hex(32),
        "environment": base64.b64encode(pickle.dumps(start.environment)).decode(),
        "machines": base64.b64encode(pickle.dumps(list(machines))).decode(),
    }


class NodeWorker:
    """
    A worker on a node, and the two connections to it.

    Arguments:
        agent: Where its agent listens.
    """

    def __init__(self, actor: Actor, agent: AgentAddress) -> None:
        self.actor = actor
        self.agent = agent
        self._control = self.connect("control")
        self._gone = threading.Event()
        self._reason: HostError = WorkerLost(detail=f"Node {self.node} does not answer.")
        self._said = ""

    @property
    def node(self) -> str:
        """
        The node, as messages name it.
        """
        return f"{self.actor.node} ({self.agent.host})"

    def begin(self, start: Start) -> Worker:
        """
        Have the environment built, and return the worker in it.

        Raises:
            EnvironmentBuildError: It cannot be built there.

            HostError: The node is lost.

            Cancelled: The worker is not wanted any more.
        """
        facts = self._facts()
        try:
            inherits = self._build(facts, start)
            stream, arenas, settings = self._open_stream(facts, start, inherits=inherits)
        except BaseException:
            # Whoever has the other end ends with it.
            self._control.close()
            raise
        worker = Worker(
            stream,
            stream,
            lost=self.why_lost,
            kill=self.kill,
            wait=self._gone.wait,
            settings=settings,
            arenas=arenas,
        )
        threading.Thread(
            target=self._watch, args=(facts, worker), name="fal-core ray worker", daemon=True
        ).start()
        return worker

    def connect(self, purpose: str) -> socket.socket:
        """
        Open a connection to the agent.

        Raises:
            HostError: The node cannot be reached.
        """
        try:
            return self.agent.connect(purpose)
        except OSError as error:
            raise HostError(
                f"Node {self.actor.node} cannot be reached at {self.agent}: "
                f"{error.strerror or error}. Calls on Ray need connections from here to the "
                "nodes."
            ) from error

    def kill(self) -> None:
        """
        End the worker and all that it has started.
        """
        with suppress(OSError):
            self._control.sendall(b'{"end": true}\n')
        timer = threading.Timer(_PATIENCE, self._kill_actor)
        timer.daemon = True
        timer.start()

    def why_lost(self) -> HostError:
        """
        Return why the worker was lost.
        """
        if not self._gone.wait(_PATIENCE):
            self._kill_actor()
        return self._reason

    def _kill_actor(self) -> None:
        if not self._gone.is_set():
            self.actor.end()

    def _facts(self) -> Iterator[dict[str, Any] | None]:
        """
        Yield what the agent says until its connection ends, and None now and then.
        """
        rest = b""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        with suppress(OSError, ValueError):
            while True:
                if not poll.poll(_TURN * 1000):
                    yield None
                    continue
                part = self._control.recv(65536)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    def _build(self, told: Iterator[dict[str, Any] | None], start: Start) -> bool:
        """
        Have the environment built, and return whether the worker inherits descriptors.
        """
        facts = self._await_fact("built", told, start)
        problem = python_problem(facts["built"])
        if problem:
            raise HostError(problem)
        start.report(State("starting"))
        return bool(facts["inherits"])

    def _open_stream(
        self, told: Iterator[dict[str, Any] | None], start: Start, *, inherits: bool
    ) -> tuple[int, Arenas | None, dict[str, Any]]:
        """
        Return the stream of the worker, the memory that it shares with this process if both
        are on one machine, and the settings that say so.
        """
        is_here = self._control.family == socket.AF_UNIX
        if not (is_here and inherits and Arenas.can_be_made()) or start.serves:
            # Where something is in between, if only a network, no wait is a short one.
            settings = {} if is_here and inherits else {"relayed": True}
            return self.connect("stream").detach(), None, settings
        stream = self.connect("stream given")
        arenas, shared = Arenas.make()
        try:
            try:
                socket.send_fds(stream, [b"+"], shared)
            except OSError as error:
                raise HostError(f"Node {self.node} takes no shared memory: {error}.") from error
            numbers = self._await_fact("given", told, start)["given"]
        except BaseException:
            stream.close()
            arenas.close()
            raise
        finally:
            os.close(shared[-1])
        return stream.detach(), arenas, Arenas.settings(tuple(numbers))

    def _await_fact(
        self, name: str, told: Iterator[dict[str, Any] | None], start: Start
    ) -> dict[str, Any]:
        """
        Return the first of the facts that the agent tells which has *name*, and pass on those
        before it.

        Raises:
            Cancelled: The worker is not wanted any more.
        """
        for facts in told:
            if start.cancelled.is_set():
                raise Cancelled
            if facts is None:
                continue
            if name in facts:
                return facts
            self._pass_on(facts, start)
        raise self._reason_of_break()

    def _pass_on(self, facts: dict[str, Any], start: Start) -> None:
        if facts.get("state") == "building":
            start.report(State("building"))
        elif "log" in facts:
            message, level, source, when = facts["log"]
            start.report(Log(message, level, source, when))
        elif "failed" in facts:
            raise _unpack(facts["failed"])
        elif "refused" in facts:
            raise HostError(f"Node {self.node}: {facts['refused']}")
        elif "exited" in facts:
            raise self._reason_of(facts)

    def _watch(self, told: Iterator[dict[str, Any] | None], worker: Worker) -> None:
        exited = None
        for facts in told:
            if facts is None:
                continue
            if "said" in facts:
                self._said = f"{self._said}{facts['said']}\n"[-_SAID:]
                worker.say(facts["said"])
            elif "exited" in facts:
                exited = facts
                break
        self._reason = self._reason_of_break() if exited is None else self._reason_of(exited)
        self._gone.set()
        self.actor.end()
        self.actor.forget()
        worker.close()
        self._control.close()

    def _reason_of(self, exited: dict[str, Any]) -> HostError:
        if exited["reason"] is not None:
            reason = _unpack(exited["reason"])
            if isinstance(reason, HostError):
                return reason
        return reason_of_exit(exited["exited"], self._said.strip())

    def _reason_of_break(self) -> HostError:
        """
        Return why the agent says nothing more, as Ray knows it.
        """
        ended = self.actor.await_end(_NEWS)
        if ended is not None and ended["event"] == "closed":
            return WorkerLost(detail=ended["why"])
        if ended is None:
            return WorkerLost(detail=f"Node {self.node} is gone, or its network.")
        if "OutOfMemory" in ended["why"]:
            return OutOfMemory(detail=f"Node {self.node}: {ended['why']}")
        return WorkerLost(detail=f"Node {self.node}: {ended['why']}")


def _unpack(packed: str) -> FalCoreError:
    error = pickle.loads(base64.b64decode(packed))
    assert isinstance(error, FalCoreError)
    return error
