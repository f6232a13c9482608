"""
The agent of a node: it builds environments, and starts workers.

Lines of its standard input tell it which workers are asked for, each with a token that nobody
else knows. It listens at a port of its node for connections of the process that wants them.
The first line of each says the token and what it is for:

- ``control``: there is one. Lines of JSON go to the caller: what the build says, that the
  worker can be started, what it prints, and its exit code. Lines from the caller end it.
- ``stream``: there is one. The worker has it as its standard input and output.
- ``forward PORT``: bytes to and from a port of this node that a service listens on.
- ``await PORT``: a ``+`` once a service listens there.

A worker ends with its connection for control, and everything with the actor that has started
the agent.
"""

from __future__ import annotations

import base64
import hashlib
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
from fal_core.errors import FalCoreError, HostError, WorkerLost
from fal_core.events import Log
from fal_core.workers import ARGUMENTS
from fal_host_ray.nodes.greetings import GREETING, read_greeting
from fal_host_ray.nodes.splices import await_port, splice

#: Seconds that the caller has to come.
_ARRIVAL = 60.0
#: Seconds before the next connection, after one that could not be accepted.
_PAUSE = 0.1
#: How many connections may be about to say who they are.
_STRANGERS = 256
#: Why a worker ended that nobody has asked to.
_ABANDONED = "Ray has ended what it ran on the node: its head is gone, or the node is to end."
#: Seconds that a worker may take to end once it is told to.
_GRACE = 10.0
#: Bytes of a line of standard error that is passed on, and of the last lines that are kept.
_LONGEST_LINE, _SAID = 8192, 4096


class Agent:
    """
    The workers of this node, and those who connect for them.
    """

    def __init__(self, address: str) -> None:
        self.listener = socket.create_server((address, 0), backlog=_STRANGERS)
        self.strangers = threading.BoundedSemaphore(_STRANGERS)
        self.workers: dict[bytes, NodeProcess] = {}
        self.changed = threading.Condition()

    def hear(self, lines: IO[bytes]) -> None:
        """
        Take what the actor asks for until it is gone, and end everything then.
        """
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
        ends = [threading.Thread(target=each.end, args=(_ABANDONED,)) for each in left]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
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
        # The caller may be quicker than the actor.
        key = _key(token)
        with self.changed:
            self.changed.wait_for(lambda: key in self.workers, GREETING)
            return self.workers.get(key)


class NodeProcess:
    """
    One worker, and those who are connected for it.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.control: socket.socket | None = None
        self.stream: socket.socket | None = None
        self.arrived = threading.Condition()
        self.ending = threading.Event()
        self.writing = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.command: Command | None = None
        self.said = ""
        self.why = ""

    # -- connections -------------------------------------------------------------

    def take(self, connection: socket.socket, purpose: bytes) -> bool:
        """
        Use a connection for *purpose*; return False if that is none.
        """
        with self.arrived:
            if purpose == b"control" and self.control is None:
                self.control = connection
            elif purpose == b"stream" and self.stream is None:
                self.stream = connection
            elif purpose.startswith(b"forward ") and purpose[8:].isdigit():
                port = int(purpose[8:])
                threading.Thread(target=splice, args=(connection, port), daemon=True).start()
            elif purpose.startswith(b"await ") and purpose[6:].isdigit():
                port = int(purpose[6:])
                threading.Thread(
                    target=await_port, args=(connection, port), daemon=True
                ).start()
            else:
                return False
            self.arrived.notify_all()
        return True

    def await_connection(self, name: str) -> Any:
        """
        Return the connection *name*; None if none comes.
        """
        with self.arrived:
            self.arrived.wait_for(
                lambda: getattr(self, name) is not None or self.ending.is_set(), _ARRIVAL
            )
            return getattr(self, name)

    def tell(self, **facts: Any) -> None:
        assert self.control is not None
        with self.writing, suppress(OSError):
            self.control.sendall(json.dumps(facts).encode() + b"\n")

    def hear(self, connection: socket.socket) -> None:
        """
        End everything once the caller says so, or is gone.
        """
        with suppress(OSError):
            # It says nothing else.
            connection.recv(1)
        self.end()

    def close(self) -> None:
        with self.arrived:
            for connection in (self.control, self.stream):
                if connection is not None:
                    # Another thread may wait for it to be read.
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                    connection.close()

    def end(self, why: str = "") -> None:
        """
        End the worker, or its build.

        Arguments:
            why: As a sentence, unless it was asked for.
        """
        with self.arrived:
            if self.ending.is_set():
                return
            self.why = why
            self.ending.set()
            self.arrived.notify_all()
        if self.process is not None:
            end_process(self.process, self.command)

    # -- the worker ---------------------------------------------------------------

    def run(self) -> None:
        """
        Build the environment, start the worker, and wait for its end.
        """
        control = self.await_connection("control")
        if control is None:
            return
        threading.Thread(target=self.hear, args=(control,), daemon=True).start()
        interpreter = self.build()
        stream = None if interpreter is None else self.await_connection("stream")
        if interpreter is None or stream is None:
            return
        machines = pickle.loads(base64.b64decode(self.told["machines"]))
        machine = machines[self.told["choice"]] if machines else None
        name = f"fal-core-{os.getpid()}-{os.urandom(4).hex()}"
        self.command = interpreter.command(ARGUMENTS, machine=machine, name=name)
        with self.arrived:
            if self.ending.is_set():
                return
            try:
                self.process = self._start(self.command, stream)
            except OSError as error:
                self.tell(exited=1, reason=_pack(HostError(f"It cannot be started: {error}.")))
                return
            stream.close()
        assert self.process.stderr is not None
        said = threading.Thread(target=self._pass_on, args=(self.process.stderr,), daemon=True)
        said.start()
        code = self.process.wait()
        said.join(0.2)
        self.tell(exited=code, reason=self._explain(code))

    def _start(self, command: Command, stream: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command.argv,
            stdin=stream.fileno(),
            stdout=stream.fileno(),
            stderr=subprocess.PIPE,
            cwd=command.directory or os.path.expanduser("~"),
            env={**os.environ, **command.variables},
            start_new_session=True,
        )

    def _explain(self, code: int) -> str | None:
        """
        Return the packed reason for *code* that the interpreter knows; None if it knows none.
        """
        assert self.command is not None
        if self.why:
            return _pack(WorkerLost(detail=self.why))
        if self.command.explain is None:
            return None
        reason = self.command.explain(code, self.said.strip())
        return None if reason is None else _pack(reason)

    def build(self) -> Interpreter | None:
        """
        Build the environment, and tell it; None if that fails.
        """
        try:
            packed = base64.b64decode(self.told["environment"])
            environment = cast(Environment, pickle.loads(packed))
            if not environment.is_built():
                self.tell(state="building")
            interpreter = environment.build(self._log, self.ending)
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


def _key(token: bytes) -> bytes:
    # How long a look-up takes says nothing of a token.
    return hashlib.sha256(token).digest()


def _pack(error: FalCoreError) -> str:
    return base64.b64encode(pickle.dumps(error)).decode()


def main() -> None:
    """
    Run the agent for the actor at the other end of standard input.
    """
    told = json.loads(sys.stdin.buffer.readline())
    agent = Agent(told["address"])
    facts = {"port": agent.listener.getsockname()[1], "node": socket.gethostname()}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    threading.Thread(target=agent.listen, daemon=True).start()
    agent.hear(sys.stdin.buffer)
    os._exit(0)
