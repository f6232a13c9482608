"""Processes of a node: workers, and the connections that are theirs."""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, Any, cast

from fal_core.environments import Command, Environment, Interpreter
from fal_core.errors import FalCoreError, HostError, WorkerLost
from fal_core.events import Event, Exited, Log, State
from fal_core.nodes.greetings import GREETING
from fal_core.nodes.local_sockets import CONNECTIONS, make_name
from fal_core.nodes.splices import lead_to_port
from fal_core.sinks.records import encode_event
from fal_core.workers import ARGUMENTS

#: Seconds that the caller has to come.
_ARRIVAL = 60.0
#: How many descriptors a caller may give.
_GIVEN = 8
#: Seconds that a worker may take to end once it is told to.
_GRACE = 10.0
#: Bytes of a line of standard error that is passed on, and of the last lines that are kept.
_LONGEST_LINE, _SAID = 8192, 4096


class NodeProcess:
    """One worker, and those who are connected for it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told: dict[str, Any] = told
        self.control: socket.socket | None = None
        self.stream: socket.socket | None = None
        self.given: list[int] = []
        #: What a service in the worker takes connections by.
        self.service_name: str = make_name()
        self.arrived: threading.Condition = threading.Condition()
        self.ending: threading.Event = threading.Event()
        self.writing: threading.Lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.command: Command | None = None
        self.said: str = ""
        self.why: str = ""

    # -- connections -------------------------------------------------------------

    def take(self, connection: socket.socket, purpose: bytes) -> bool:
        """Use a connection for *purpose*; return False if that is none."""
        given: list[int] = []
        if purpose == b"stream given":
            given, purpose = receive_descriptors(connection), b"stream"
            if not given:
                return False
        with self.arrived:
            if purpose == b"control" and self.control is None:
                self.control = connection
            elif purpose == b"stream" and self.stream is None:
                self.stream, self.given = connection, given
            elif not lead_to_port(connection, purpose, self.service_name):
                close_all(given)
                return False
            self.arrived.notify_all()
        return True

    def await_connection(self, name: str) -> Any:
        """Return the connection *name*; None if none comes."""
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
        """End everything once the caller says so, or is gone."""
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
            close_all(self.given)
            self.given = []

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
        """Build the environment, start the worker, and wait for its end."""
        control = self.await_connection("control")
        if control is None:
            return
        threading.Thread(target=self.hear, args=(control,), daemon=True).start()
        interpreter = self.build()
        stream = None if interpreter is None else self.await_connection("stream")
        if interpreter is None or stream is None:
            return
        machines = pickle.loads(base64.b64decode(self.told["machines"]))
        machine = machines[self.told.get("choice", 0)] if machines else None
        name = f"fal-core-{os.getpid()}-{os.urandom(4).hex()}"
        self.command = interpreter.command(ARGUMENTS, machine=machine, name=name)
        with self.arrived:
            if self.ending.is_set():
                return
            if self.given:
                self.tell(given=self.given)
            try:
                self.process = self._start(self.command, stream)
            except OSError as error:
                self.tell(
                    exited=1, reason=_pack_error(HostError(f"It cannot be started: {error}."))
                )
                return
            stream.close()
            close_all(self.given)
            self.given = []
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
            env={**os.environ, CONNECTIONS: self.service_name, **command.variables},
            pass_fds=self.given,
            start_new_session=True,
        )

    def _explain(self, code: int) -> str | None:
        """Return the packed reason for *code* that the interpreter knows; None if it knows none."""
        assert self.command is not None
        if self.why:
            return _pack_error(WorkerLost(detail=self.why))
        if self.command.explain is None:
            return None
        reason = self.command.explain(code, self.said.strip())
        return None if reason is None else _pack_error(reason)

    def build(self) -> Interpreter | None:
        """Build the environment, and tell it; None if that fails."""
        try:
            packed = base64.b64decode(self.told["environment"])
            environment = cast(Environment, pickle.loads(packed))
            if not environment.is_built():
                self.tell(event=_pack(State("building")))
            interpreter = environment.build(self._log, self.ending)
        except HostError as error:
            self.tell(event=_pack_error(error))
        except FalCoreError as error:
            self.tell(refused=str(error))
        except Exception as error:
            self.tell(refused=f"{type(error).__name__}: {error}")
        else:
            inherits = interpreter.channel == "inherited"
            self.tell(built=interpreter.python_version, inherits=inherits)
            return interpreter
        return None

    def _log(self, log: Log) -> None:
        self.tell(event=_pack(log))

    def _pass_on(self, output: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            for line in iter(lambda: output.readline(_LONGEST_LINE), b""):
                text = line.decode(errors="replace").rstrip("\r\n")
                self.said = f"{self.said}{text}\n"[-_SAID:]
                self.tell(said=text)


def receive_descriptors(connection: socket.socket) -> list[int]:
    """
    Return the descriptors that a caller of this machine gives; none if they do not come in
    time.
    """
    # Programs that are started meanwhile get none of them.
    flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    given: list[int] = []
    with suppress(OSError):
        connection.settimeout(GREETING)
        _, given, _, _ = socket.recv_fds(connection, 1, _GIVEN, flags)
        connection.settimeout(None)
    return list(given)


def close_all(descriptors: list[int]) -> None:
    for each in descriptors:
        os.close(each)


def end_process(process: subprocess.Popen[bytes], command: Command | None) -> None:
    """End a worker and all that it has started."""
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


def _pack_error(error: HostError) -> str:
    return _pack(Exited(reason=error))


def _pack(event: Event) -> str:
    return base64.b64encode(encode_event(event)).decode()
