"""The process of the launcher, and the actors that it was asked for."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fal_core.errors import Cancelled, HostClosed, HostError, OutOfMemory, WorkerLost
from fal_core.nodes import node_arguments
from fal_host_ray.cluster import launcher

#: Seconds that Ray may take to be reached.
_PATIENCE = 120.0
#: Seconds between two looks at whether a worker is wanted.
_TURN = 0.1


class DriverProcess:
    """
    A process that speaks to Ray.

    Arguments:
        python: The path of a Python that has Ray.

        address: What Ray is told: an address, ``auto``, or None for the cluster that is
            found here, or is started here.

    Raises:
        HostError: It cannot be started, or it cannot reach the cluster.
    """

    def __init__(self, python: str, address: str | None) -> None:
        # Those of Python are for this one.
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        variables.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self.process = subprocess.Popen(
                [python, "-u", str(launcher.__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=variables,
                # Ctrl-C is for the caller, who cancels what it wants to end.
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(f"{python!r} cannot be started: {error.strerror}.") from error
        self.said = b""
        self._requests: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._count = 0
        self._lock = threading.Lock()
        self.ended = False
        self.version = ""
        told = {
            "address": address,
            "namespace": "fal-core",
            "arguments": list(node_arguments()),
        }
        threading.Thread(target=self._listen, name="fal-core ray", daemon=True).start()
        try:
            self._write(told)
            self._greet(python, address)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._read, name="fal-core ray", daemon=True).start()

    def _greet(self, python: str, address: str | None) -> None:
        assert self.process.stdout is not None
        timer = threading.Timer(_PATIENCE, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        where = "a cluster of this machine" if address is None else f"the cluster {address!r}"
        if not line:
            said = self.said.decode(errors="replace").strip().rpartition("\n")[2]
            raise HostError(f"Ray cannot reach {where}: {said or 'it did not answer'}.")
        facts = json.loads(line)
        if facts.get("problem") == "no ray":
            raise HostError(
                f"There is no Ray in {python}. Install it there with pip install "
                "'ray[client]', or name a Python that has it: RayHost(python=...) or "
                "FAL_RAY_PYTHON."
            )
        if "problem" in facts:
            raise HostError(f"Ray cannot reach {where}: {facts['problem']}")
        self.version = facts["version"]

    def start(self, asked: Mapping[str, Any]) -> Actor:
        """
        Ask for an actor.

        Raises:
            HostClosed: The launcher has ended.
        """
        with self._lock:
            self._count += 1
            number = self._count
            events = self._requests[number] = queue.SimpleQueue()
        try:
            self._write({"id": number, "start": asked})
        except OSError as error:
            raise HostClosed("ray", self.problem()) from error
        if self.ended:
            raise HostClosed("ray", self.problem())
        return Actor(self, number, events)

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """
        Ask something of detached work, and return the answer.

        Raises:
            HostClosed: The launcher has ended.

            HostError: Ray refuses it.
        """
        with self._lock:
            self._count += 1
            number = self._count
            events = self._requests[number] = queue.SimpleQueue()
        try:
            self._write({"id": number, "detached": asked})
            if self.ended:
                raise BrokenPipeError
            answer = events.get(timeout=_PATIENCE)
        except OSError as error:
            raise HostClosed("ray", self.problem()) from error
        except queue.Empty:
            raise HostError(f"Ray has not answered within {_PATIENCE:g} s.") from None
        finally:
            self.forget(number)
        if answer["event"] != "answer":
            raise HostClosed("ray", answer["why"])
        if answer["found"] == "refused":
            raise HostError(answer["why"])
        return answer

    def end(self, number: int) -> None:
        """End the actor of a request."""
        with suppress(OSError):
            self._write({"id": number, "end": True})

    def problem(self) -> str:
        """Return why the launcher has ended, as a sentence."""
        # Where Ray ends a process, the addresses of its stack come last.
        lines = self.said.decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line and "0x" not in line), "")
        return f"The process that speaks to Ray has ended: {said or 'it said nothing'}."

    def close(self) -> None:
        """End the process, and with it all that it has started."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self.version:
            # Nobody reads it.
            assert self.process.stdout is not None
            self.process.stdout.close()

    def abandon(self) -> None:
        """Let go of the process in a forked child: it belongs to the parent, and ends with it."""
        with open(os.devnull, "r+b", buffering=0) as nothing:
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                # It is not closed: a thread of the parent may have held its lock at the fork.
                if pipe is not None and not pipe.closed:
                    os.dup2(nothing.fileno(), pipe.fileno())

    def forget(self, number: int) -> None:
        """Hear no more of a request."""
        with self._lock:
            self._requests.pop(number, None)

    def _write(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            try:
                self.process.stdin.write(line)
                self.process.stdin.flush()
            except ValueError as error:
                raise BrokenPipeError("The launcher is closed.") from error

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for line in answers:
                facts = json.loads(line)
                with self._lock:
                    events = self._requests.get(facts["id"])
                if events is not None:
                    events.put(facts)
        self.process.wait()
        with self._lock:
            self.ended = True
            left = list(self._requests.values())
        for events in left:
            events.put({"event": "closed", "why": self.problem()})

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as said:
            for line in said:
                self.said = (self.said + line)[-4096:]


class Actor:
    """
    An actor of the cluster, which has a worker.

    Attributes:
        node: The name of the machine that it is on, once that is known.
    """

    def __init__(
        self, owner: DriverProcess, number: int, events: queue.SimpleQueue[dict[str, Any]]
    ) -> None:
        self._owner = owner
        self._number = number
        self._events = events
        self.node = ""
        self._end: dict[str, Any] | None = None

    def next_event(self, cancelled: threading.Event) -> dict[str, Any] | None:
        """
        Return what becomes of it next; None if nothing has for a moment.

        Raises:
            Cancelled: *cancelled* was set.
        """
        try:
            return self._events.get(timeout=_TURN)
        except queue.Empty:
            if cancelled.is_set():
                raise Cancelled from None
            return None

    def why_lost(self, seconds: float) -> HostError | None:
        """
        Return why it was lost; None if that is not known after some *seconds*. Ray tells the
        end of a process at once, and that of a node after 14 seconds.
        """
        if self._end is None:
            with suppress(queue.Empty):
                self._end = self._events.get(timeout=seconds)
        if self._end is None:
            return None
        why = self._end["why"]
        if self._end["event"] == "closed":
            return WorkerLost(detail=why)
        lost = OutOfMemory if "OutOfMemory" in why else WorkerLost
        return lost(detail=f"Node {self.node}: {why}")

    def end(self) -> None:
        """End it, and its worker."""
        self._owner.end(self._number)

    def release(self) -> None:
        """End it, and hear no more of it."""
        self.end()
        self._owner.forget(self._number)


def find_python(given: str | None) -> str:
    """
    Return the path of a Python that has Ray.

    Raises:
        HostError: None is known.
    """
    chosen = given or os.environ.get("FAL_RAY_PYTHON")
    if chosen:
        return chosen
    if importlib.util.find_spec("ray") is not None:
        return sys.executable
    raise HostError(
        "There is no Ray in this Python. pip install 'fal-core[ray]' where there is a Ray for "
        "it, or name a Python that has Ray: RayHost(python=...) or FAL_RAY_PYTHON."
    )
