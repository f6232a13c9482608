"""
The agent of one worker on a node: it builds the environment, and starts the worker.

It listens at a port of its node for connections of the process that wants the worker. The
first line of each says a token, which nobody else knows, and what it is for:

- ``control``: there is one. Lines of JSON go to the caller: what the build says, that the
  worker can be started, what it prints, and its exit code. Lines from the caller end it.
- ``stream``: there is one. The worker has it as its standard input and output.
- ``forward PORT``: bytes to and from a port of this node that a service listens on.
- ``await PORT``: a ``+`` once a service listens there.

Everything ends with the connection for control, or with the actor that started the agent.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, Any, cast

from fal_core.environments import Command, Environment, Interpreter
from fal_core.errors import FalCoreError
from fal_core.events import Log
from fal_core.workers import ARGUMENTS
from fal_host_ray.nodes.splices import await_port, splice
from fal_host_ray.nodes.watched_sockets import watch_peer

#: Seconds that a stranger has to say who it is, and that the caller has to come.
_GREETING, _ARRIVAL = 10.0, 60.0
#: Bytes of the line that a connection begins with.
_LONGEST = 256
#: How many connections may be about to say who they are.
_STRANGERS = 32
#: Seconds that a worker may take to end once it is told to.
_GRACE = 10.0
#: Bytes of a line of standard error that is passed on, and of the last lines that are kept.
_LONGEST_LINE, _SAID = 8192, 4096


class Agent:
    """
    One worker, and those who are connected for it.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self.token = told["token"].encode()
        self.environment = cast(
            Environment, pickle.loads(base64.b64decode(told["environment"]))
        )
        self.machine = pickle.loads(base64.b64decode(told["machine"]))
        self.listener = socket.create_server((told["address"], 0), backlog=_STRANGERS)
        self.strangers = threading.BoundedSemaphore(_STRANGERS)
        self.control: IO[bytes] | None = None
        self.stream: socket.socket | None = None
        self.arrived = threading.Condition()
        self.ending = threading.Event()
        self.writing = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.command: Command | None = None
        self.said = ""

    # -- connections -------------------------------------------------------------

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if not self.strangers.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_GREETING)
            line = _read_line(connection)
            connection.settimeout(None)
        except OSError:
            line = b""
        finally:
            self.strangers.release()
        token, _, purpose = line.partition(b" ")
        if not hmac.compare_digest(token, self.token):
            connection.close()
            return
        watch_peer(connection)
        with self.arrived:
            if purpose == b"control" and self.control is None:
                self.control = connection.makefile("rwb", buffering=0)
            elif purpose == b"stream" and self.stream is None:
                self.stream = connection
            elif purpose.startswith(b"forward ") and purpose[8:].isdigit():
                threading.Thread(
                    target=splice, args=(connection, int(purpose[8:])), daemon=True
                ).start()
            elif purpose.startswith(b"await ") and purpose[6:].isdigit():
                threading.Thread(
                    target=await_port, args=(connection, int(purpose[6:])), daemon=True
                ).start()
            else:
                connection.close()
            self.arrived.notify_all()

    def await_connection(self, name: str) -> Any:
        with self.arrived:
            self.arrived.wait_for(
                lambda: getattr(self, name) is not None or self.ending.is_set(), _ARRIVAL
            )
        found = getattr(self, name)
        if found is None:
            raise SystemExit(0)
        return found

    def tell(self, **facts: Any) -> None:
        assert self.control is not None
        with self.writing, suppress(OSError):
            self.control.write(json.dumps(facts).encode() + b"\n")

    def hear(self, lines: IO[bytes]) -> None:
        """
        End everything once the caller says so, or is gone.
        """
        with suppress(OSError, ValueError):
            for line in lines:
                if json.loads(line).get("end"):
                    break
        self.end()

    def await_actor(self) -> None:
        """
        End everything once the actor is gone, which has the other end of standard input.
        """
        sys.stdin.buffer.read()
        self.end()

    def end(self) -> None:
        with self.arrived:
            if self.ending.is_set():
                return
            self.ending.set()
            self.arrived.notify_all()
        if self.process is not None:
            end_process(self.process, self.command)
        else:
            # The build looks at it, and ends its children.
            threading.Timer(_GRACE, os._exit, (1,)).start()

    # -- the worker ---------------------------------------------------------------

    def run(self) -> int:
        """
        Build the environment, start the worker, and return its exit code.
        """
        self.await_connection("control")
        assert self.control is not None
        threading.Thread(target=self.hear, args=(self.control,), daemon=True).start()
        threading.Thread(target=self.await_actor, daemon=True).start()
        interpreter = self.build()
        if interpreter is None:
            return 1
        stream = self.await_connection("stream")
        name = f"fal-core-{os.getpid()}-{os.urandom(4).hex()}"
        self.command = interpreter.command(ARGUMENTS, machine=self.machine, name=name)
        variables = {**os.environ, **self.command.variables}
        with self.arrived:
            if self.ending.is_set():
                return 0
            self.process = subprocess.Popen(
                self.command.argv,
                stdin=stream,
                stdout=stream,
                stderr=subprocess.PIPE,
                cwd=self.command.directory or os.path.expanduser("~"),
                env=variables,
                start_new_session=True,
            )
        stream.close()
        assert self.process.stderr is not None
        said = threading.Thread(target=self._pass_on, args=(self.process.stderr,), daemon=True)
        said.start()
        code = self.process.wait()
        said.join(0.2)
        self.tell(exited=code, reason=self._explain(code))
        return 0

    def _explain(self, code: int) -> str | None:
        """
        Return the packed reason for *code* that the interpreter knows; None if it knows none.
        """
        assert self.command is not None
        if self.command.explain is None:
            return None
        reason = self.command.explain(code, self.said.strip())
        return None if reason is None else _pack(reason)

    def build(self) -> Interpreter | None:
        if not self.environment.is_built():
            self.tell(state="building")
        try:
            interpreter = self.environment.build(self._log, self.ending)
        except FalCoreError as error:
            self.tell(failed=_pack(error))
        except Exception as error:
            self.tell(refused=f"{type(error).__name__}: {error}")
        else:
            self.tell(built=interpreter.python_version)
            return interpreter
        return None

    def _log(self, log: Log) -> None:
        self.tell(log=[log.message, log.level, log.source, log.time])

    def _pass_on(self, output: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            for line in iter(lambda: output.readline(_LONGEST_LINE), b""):
                text = line.decode(errors="replace").rstrip("\r\n")
                self.said = f"{self.said}{text}\n"[-_SAID:]
                self.tell(said=text)


def end_process(process: subprocess.Popen[bytes], command: Command | None) -> None:
    """
    End a worker and all that it has started.
    """
    if process.poll() is not None:
        return
    if command is not None and command.stop_argv is not None:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command.stop_argv,
                env={**os.environ, **command.variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GRACE,
            )
    # Its guard ends what it has started.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        until = time.monotonic() + _GRACE
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)


def _pack(error: FalCoreError) -> str:
    return base64.b64encode(pickle.dumps(error)).decode()


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1)
        if not part or len(line) > _LONGEST:
            return b""
        line += part
    return line[:-1]


def main() -> None:
    """
    Run the agent that a line of standard input describes.
    """
    told = json.loads(sys.stdin.buffer.readline())
    agent = Agent(told)
    port = agent.listener.getsockname()[1]
    facts = {"port": port, "node": socket.gethostname()}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    threading.Thread(target=agent.listen, daemon=True).start()
    try:
        code = agent.run()
    except SystemExit:
        code = 0
    os._exit(code)
