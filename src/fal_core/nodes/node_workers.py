"""Workers on nodes, as the process that calls them sees them."""

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
from typing import Any, Protocol

from fal_core.environments import python_problem
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import Exited, Log, State
from fal_core.machines import Machine
from fal_core.nodes.agent_addresses import AgentAddress
from fal_core.nodes.local_sockets import is_local
from fal_core.pools import Start
from fal_core.sinks import UnreadableRecord
from fal_core.sinks.records import decode_event
from fal_core.workers import Arenas, Worker, reason_of_exit

#: Seconds between two looks at whether a worker is wanted.
_TURN = 0.1
#: Seconds in which something may tell why a connection broke.
_NEWS = 2.0
#: Seconds that an agent has to end its worker, until its place is ended.
_PATIENCE = 15.0
#: Bytes of a line of an agent.
_LONGEST = 8 << 20
#: What an agent may tell, and the types of it.
_FACTS: dict[str, type | tuple[type, ...]] = {
    "event": str,
    "refused": str,
    "built": (str, type(None)),
    "inherits": bool,
    "given": list,
    "said": str,
    "exited": int,
    "reason": (str, type(None)),
}
#: Bytes: so much of what a process has printed last is in the error.
_SAID = 4096
#: Why a worker ended whose agent is not understood.
_UNREADABLE = "The agent of a node has told what cannot be read."


def agent_request(start: Start, machines: Sequence[Machine] = ()) -> dict[str, str]:
    """
    Return what an agent is told for *start*, as values for JSON.

    Arguments:
        machines: Those of which the ``choice`` of the request is one; the first by default.
    """
    return {
        "token": secrets.token_hex(32),
        "environment": base64.b64encode(pickle.dumps(start.environment)).decode(),
        "machines": base64.b64encode(pickle.dumps(list(machines))).decode(),
    }


class WorkerPlace(Protocol):
    """What a host has of the place of a worker on a node."""

    @property
    def node(self) -> str:
        """The name of the node, for messages."""

    def end(self) -> None:
        """End what runs there; the agent has not done so."""

    def release(self) -> None:
        """Give the place back: its worker is gone."""

    def why_lost(self, seconds: float) -> HostError | None:
        """
        Return why the agent of the place is gone, as soon as that is known; None where it is
        not within *seconds*.
        """


class NodeWorker:
    """
    A worker on a node, and the two connections to it.

    Arguments:
        place: What it has of the node.

        agent: Where its agent listens.
    """

    def __init__(self, place: WorkerPlace, agent: AgentAddress) -> None:
        self.place = place
        self.agent = agent
        self._control = self.connect("control")
        self._gone = threading.Event()
        self._reason: HostError = WorkerLost(detail=f"Node {self.place.node} does not answer.")
        self._said = ""

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
            # The worker at the other end ends with it.
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
            target=self._watch, args=(facts, worker), name="fal-core node worker", daemon=True
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
                f"Node {self.place.node} cannot be reached at {self.agent}: "
                f"{error.strerror or error}. Calls there need connections from here to the "
                "node."
            ) from error

    def kill(self) -> None:
        """End the worker and all that it has started."""
        with suppress(OSError):
            self._control.sendall(b'{"end": true}\n')
        timer = threading.Timer(_PATIENCE, self._end_place)
        timer.daemon = True
        timer.start()

    def why_lost(self) -> HostError:
        """Return why the worker was lost."""
        if not self._gone.wait(_PATIENCE):
            self._end_place()
        return self._reason

    def _end_place(self) -> None:
        if not self._gone.is_set():
            self.place.end()

    def _facts(self) -> Iterator[dict[str, Any] | None]:
        """Yield what the agent says until its connection ends, and None now and then."""
        rest = b""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        with suppress(OSError):
            while True:
                if not poll.poll(_TURN * 1000):
                    yield None
                    continue
                part = self._control.recv(65536)
                if not part or len(rest) > _LONGEST:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield _read_facts(line)

    def _build(self, told: Iterator[dict[str, Any] | None], start: Start) -> bool:
        """Have the environment built, and return whether the worker inherits descriptors."""
        facts = self._await_fact("built", told, start)
        problem = python_problem(facts["built"])
        if problem:
            raise HostError(problem)
        start.report(State("starting"))
        return bool(facts.get("inherits"))

    def _open_stream(
        self, told: Iterator[dict[str, Any] | None], start: Start, *, inherits: bool
    ) -> tuple[int, Arenas | None, dict[str, Any]]:
        """
        Return the stream of the worker, the memory that it shares with this process if both
        are on one machine, and the settings that say so.
        """
        is_here = is_local(self._control)
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
                raise HostError(
                    f"Node {self.place.node} takes no shared memory: {error}."
                ) from error
            numbers = self._await_fact("given", told, start)["given"]
            if len(numbers) != len(shared):
                raise HostError(_UNREADABLE)
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
        if "event" in facts:
            event = _unpack(facts["event"])
            if isinstance(event, HostError):
                raise event
            start.report(event)
        elif "refused" in facts:
            raise HostError(f"Node {self.place.node}: {facts['refused'][:_SAID]}")
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
        self.place.release()
        worker.close()
        self._control.close()

    def _reason_of(self, exited: dict[str, Any]) -> HostError:
        if exited.get("reason") is not None:
            reason = _unpack(exited["reason"])
            return reason if isinstance(reason, HostError) else HostError(_UNREADABLE)
        return reason_of_exit(exited["exited"], self._said.strip())

    def _reason_of_break(self) -> HostError:
        """Return why the agent says nothing more, as the place knows it."""
        why = self.place.why_lost(_NEWS)
        return why or WorkerLost(detail=f"Node {self.place.node} is gone, or its network.")


def _read_facts(line: bytes) -> dict[str, Any]:
    """Return what a line of an agent tells. One that cannot be read is the end of the worker."""
    with suppress(RecursionError, ValueError):
        facts = json.loads(line)
        if isinstance(facts, dict) and all(
            isinstance(value, _FACTS.get(name, ())) for name, value in facts.items()
        ):
            return facts
    return {"exited": 1, "reason": ""}


def _unpack(packed: str) -> HostError | Log | State:
    """
    Return an event that an agent tells, or the error of one. What it says is data: nothing of
    it is run here.
    """
    with suppress(UnreadableRecord, ValueError):
        event = decode_event(base64.b64decode(packed))
        if isinstance(event, Log) or event == State("building"):
            return event
        if isinstance(event, Exited) and event.reason is not None:
            return event.reason
    return HostError(_UNREADABLE)
