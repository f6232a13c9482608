"""
Keepers: the actors of nodes, which have agents as their children.

This runs in the Python of the cluster, which need not have fal-core: it imports Ray and the
standard library alone, and travels there with the class of the actor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import IO, Any

#: Bytes of the errors of an agent that are kept.
_SAID = 4096


class Keeper:
    """The actor of a node: it has the agent as its child."""

    def __init__(self) -> None:
        self.agent: subprocess.Popen[bytes] | None = None
        self.said = b""
        self.writing = threading.Lock()

    def begin(
        self, arguments: list[str], told: dict[str, Any], code: list[Any]
    ) -> dict[str, Any]:
        """Start the agent, and return where it listens."""
        import ray

        address = ray.util.get_node_ip_address()
        self.agent = open_program(arguments)
        assert self.agent.stdout is not None
        threading.Thread(target=self._listen, args=(self.agent.stderr,), daemon=True).start()
        hand_over(self.agent, {"address": address, **told}, code)
        answer = self.agent.stdout.readline()
        if not answer:
            self.agent.wait()
            return {"why": self.said.decode(errors="replace").strip() or "It said nothing."}
        return {"address": address, **json.loads(answer)}

    def take(self, place: dict[str, Any]) -> None:
        """Tell the agent of a worker that it is asked for, or to end."""
        self._write(place)

    def wait(self) -> str:
        """Wait for the end of the agent, and return what it has said last."""
        assert self.agent is not None
        code = self.agent.wait()
        said = self.said.decode(errors="replace").strip()
        return f"Its agent has ended with exit code {code}. {said}"

    def _write(self, line: dict[str, Any]) -> None:
        assert self.agent is not None
        assert self.agent.stdin is not None
        with self.writing:
            self.agent.stdin.write(json.dumps(line).encode() + b"\n")
            self.agent.stdin.flush()

    def _listen(self, output: IO[bytes]) -> None:
        for line in output:
            self.said = (self.said + line)[-_SAID:]


def open_program(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start the program of a node that takes code and runs it."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))},
        start_new_session=True,
    )


def hand_over(program: subprocess.Popen[bytes], told: dict[str, Any], code: list[Any]) -> None:
    """
    Tell a program what to run, and give it the code, which is fetched where this node has none.

    It may end instead: its streams end then.
    """
    import ray

    assert program.stdin is not None
    assert program.stdout is not None
    try:
        program.stdin.write(json.dumps(told).encode() + b"\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        if answer and not json.loads(answer)["has"]:
            archive = ray.get(code[0])
            size = json.dumps({"size": len(archive)}).encode()
            program.stdin.write(size + b"\n" + archive)
            program.stdin.flush()
    except BrokenPipeError:
        pass
