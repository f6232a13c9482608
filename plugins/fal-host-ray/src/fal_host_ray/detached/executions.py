"""Launching detached work on a node, attaching to it, and listing what there is."""

from __future__ import annotations

import base64
import json
import os
import pickle
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fal_core.abilities import ExecutionStatus, limit_of
from fal_core.calls import Call
from fal_core.detached import FollowedExecution
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Event, Exited, Ready, Sink, State
from fal_core.machines import Machine
from fal_core.nodes import AgentAddress, Relays, node_facts
from fal_core.sinks import UnreadableRecord, read_journal
from fal_host_ray.cluster.launchers import DriverProcess
from fal_host_ray.options import RayOptions, find_machines, resources_of
from fal_host_ray.variables import resolve_secrets

#: Seconds between two looks at work that waits, and at one that cannot be followed.
_TURN, _PAUSE = 0.3, 0.1
#: The module that runs the work on a node.
SUPERVISOR = "fal_host_ray.detached.supervisors"
#: Seconds for which a node may be silent until its work counts as lost.
_NEWS = 30.0


class NoSuchExecution(HostError):
    """No detached work of the cluster has that reference."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return (
            f"The cluster has no detached work called {self.reference!r}. "
            "Run 'fal-core executions list' with its host to see what there is."
        )


def launch_detached(
    call: Call,
    sink: Sink,
    find_launcher: Callable[[], DriverProcess],
    relays: Relays,
    code: tuple[str, str],
) -> RayExecution:
    """
    Give *call* to the cluster, and report it to *sink*.

    Arguments:
        code: The digest and the path of the archive of what its supervisor imports.

    Raises:
        HostError: No node can ever run it, or the cluster cannot be reached.
    """
    from fal_core.sealing import encode_call

    options = RayOptions.of(call)
    machines: list[Machine | None] = [*find_machines(options)] or [None]
    known = resolve_secrets(options.secrets or (), call.origin)
    digest, archive = code
    told = {
        **node_facts(digest, SUPERVISOR),
        "name": call.name,
        "owner": call.owner,
        "largest": limit_of(sink),
        "token": secrets.token_hex(32),
    }
    handle, path = tempfile.mkstemp(prefix="fal-core-ray-")
    try:
        with open(handle, "wb") as file:
            # Secrets are in no record, and are forgotten once the work has begun.
            file.write(json.dumps(known).encode() + b"\n" + encode_call(call))
        find_launcher().ask(
            {
                "do": "launch",
                "reference": call.id,
                "digest": digest,
                "archive": archive,
                "call": path,
                "choices": [resources_of(options, each) for each in machines],
                "machines": [_pack(each) for each in machines],
                "told": told,
            }
        )
    finally:
        os.unlink(path)
    return RayExecution(call.id, sink, 0, find_launcher, relays)


def _pack(machine: Machine | None) -> str:
    return base64.b64encode(pickle.dumps(machine)).decode()


def attach(
    reference: str,
    sink: Sink,
    after: int,
    find_launcher: Callable[[], DriverProcess],
    relays: Relays,
) -> RayExecution:
    """
    Report detached work to *sink*, from its event number *after* on.

    Raises:
        NoSuchExecution: No work has that reference.
    """
    found = find_launcher().ask({"do": "find", "reference": reference})
    if found["found"] == "nothing":
        raise NoSuchExecution(reference)
    if found["found"] == "ended":
        # It is asked for again once it is followed.
        Path(found["journal"]).unlink(missing_ok=True)
    return RayExecution(reference, sink, after, find_launcher, relays)


def list_executions(launcher: DriverProcess) -> Iterator[ExecutionStatus]:
    """Iterate over the detached work of a cluster, the oldest first."""
    listed: Mapping[str, Any] = launcher.ask({"do": "list"})["list"]
    for reference, status in sorted(listed.items(), key=lambda pair: pair[1]["launched"]):
        yield ExecutionStatus(
            reference=reference,
            name=status["told"]["name"],
            phase=status.get("phase", "queued"),
            started=status.get("started", status["launched"]),
            ended=status.get("ended", False),
            end=status.get("end"),
            error=status.get("error", ""),
            owner=status["told"]["owner"],
        )


class RayExecution(FollowedExecution):
    """Detached work on a node, as one process sees it."""

    def __init__(
        self,
        reference: str,
        sink: Sink,
        after: int,
        find_launcher: Callable[[], DriverProcess],
        relays: Relays,
    ) -> None:
        super().__init__(reference, sink, after)
        self._find_launcher = find_launcher
        self._relays = relays
        self._agent: AgentAddress | None = None
        self._is_queued = self._has_ended = False
        self.begin()

    def report(self, event: Event) -> None:
        if isinstance(event, Ready):
            if self._agent is None:
                # It has ended: nothing is reached there any more.
                return
            event = Ready(self._relays.open(self._agent, event.urls, lambda: self._has_ended))
        if isinstance(event, Exited):
            self._has_ended = True
        super().report(event)

    def follow(self) -> None:
        try:
            lost: HostError | None = self._follow()
        except UnreadableRecord as error:
            lost = WorkerLost(
                detail=f"It was ended because its journal cannot be read: {error}."
            )
            self._kill()
        except HostError as error:
            lost = error
        if lost is not None:
            self.settle(None)
            self.report(Exited(reason=lost))

    def _follow(self) -> HostError | None:
        """
        Report the work to its end, and return why that is not known; None where it is.

        Raises:
            HostError: The cluster cannot be asked.

            UnreadableRecord: The journal holds what is no event.
        """
        until, doubt = time.monotonic() + _NEWS, False
        while True:
            asked = {"do": "find", "reference": self.reference, "doubt": doubt}
            found = self._find_launcher().ask(asked)
            what, node = found["found"], f"Node {found.get('node', '')!r}"
            if what == "queued":
                self._wait()
                until = time.monotonic() + _NEWS
            elif what == "ended":
                return self._replay(found)
            elif what == "at":
                before = self.received
                token = found["told"]["token"]
                self._agent = AgentAddress(found["address"], found["port"], token)
                if self._follow_at(self._agent):
                    return None
                if self.received > before:
                    until = time.monotonic() + _NEWS
                doubt = True
                time.sleep(_PAUSE)
            elif what in ("lost", "nothing"):
                return WorkerLost(detail=f"{node}: {found.get('why', 'its records are gone.')}")
            if time.monotonic() > until:
                self._kill()
                return WorkerLost(detail=f"{node} no longer answers.")

    def _wait(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            super().report(State("queued"))
        time.sleep(_TURN)

    def _follow_at(self, agent: AgentAddress) -> bool:
        try:
            connection = agent.connect("follow")
        except OSError:
            return False
        return self.follow_supervisor(connection)

    def _replay(self, found: Mapping[str, Any]) -> HostError | None:
        self.settle(None)
        self._agent = None
        event: Any = None
        journal = Path(found["journal"])
        try:
            for event in read_journal(journal, self.after, self.largest):
                self.report(event)
        finally:
            journal.unlink(missing_ok=True)
        if isinstance(event, Exited):
            return None
        why = found["why"].removeprefix("WorkerLost: ") or "It was lost."
        return WorkerLost(detail=f"Node {found['node']!r}: {why}")

    def _kill(self) -> None:
        with suppress(HostError):
            self._find_launcher().ask({"do": "end", "reference": self.reference})
