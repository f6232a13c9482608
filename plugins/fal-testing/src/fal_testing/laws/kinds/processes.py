"""Laws of processes: what the command of an interpreter starts, what it sees, and how it ends."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from fal_core.environments import Environment, Interpreter
from fal_core_worker.serving.ports import free_port
from fal_testing.harness.commands import is_locked, run, started, stop
from fal_testing.harness.expectations import expect
from fal_testing.harness.processes import wait_until

#: Where processes with a file system of their own see the folder of a law.
_THERE = "/fal-core-law"

#: The port at which a process listens in a network of its own.
_INNER = 8753

_WHOLE = "The command of the interpreter starts its Python with the given arguments."

_ELSEWHERE = (
    "Its processes may be on another machine: they are spoken to over their standard streams "
    "alone."
)


@pytest.fixture
def law_folder() -> Iterator[Path]:
    """A folder with a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="fal-core-law-") as folder:
        yield Path(folder)


def _build(environment: Environment) -> Interpreter:
    return environment.build(lambda line: None, Event())


def test_a_process_sees_the_variables_that_it_is_told(
    unbuilt: Environment, law_timeout: float
) -> None:
    """
    A process sees the variables that its command was made with, and no value of theirs is in
    the command line.
    """
    value = uuid.uuid4().hex
    command = _build(unbuilt).command(
        ("-I", "-c", "import os; print(os.environ.get('FAL_CORE_LAW'))"),
        variables={"FAL_CORE_LAW": value},
    )
    look = "Let Command.variables have them, and see that they reach the process."
    found = run(command, law_timeout)
    expect(found, value, "The variable of a process that was told of it", look)
    assert not any(value in word for word in command.argv), (
        "A variable that a process was told of is in its command line, which other users of "
        f"the machine may read. {look}"
    )


def test_a_process_sees_the_folders_that_it_is_told(
    unbuilt: Environment, law_folder: Path, law_timeout: float
) -> None:
    """
    A process with a file system of its own sees the folders of *binds* where it is told to,
    and any other process sees them where they are.
    """
    interpreter = _build(unbuilt)
    if interpreter.channel == "streams" and unbuilt.isolates_files:
        pytest.skip(_ELSEWHERE)
    value = uuid.uuid4().hex
    (law_folder / "told").write_text(value)
    there, binds = _place(unbuilt, law_folder)
    command = interpreter.command(
        ("-I", "-c", f"print(open({there + '/told'!r}).read())"), binds=binds
    )
    look = "Mount each folder of binds, or say with isolates_files = False that it is there."
    found = run(command, law_timeout)
    expect(found, value, "A file in a folder that a process was told of", look)


def test_a_process_is_reached_at_the_ports_that_it_is_told(
    unbuilt: Environment, law_timeout: float
) -> None:
    """
    What listens in a network of its own is reached on this machine through *ports*, and any
    other process at the port at which it listens.
    """
    interpreter = _build(unbuilt)
    value, outer = uuid.uuid4().hex, free_port()
    # In a network of its own, what leads there does not come from its loopback.
    address, inner = ("", _INNER) if unbuilt.isolates_network else ("127.0.0.1", outer)
    program = (
        "import socket\n"
        f"with socket.create_server(({address!r}, {inner})) as server:\n"
        "    while True:\n"
        "        connection, _ = server.accept()\n"
        "        with connection:\n"
        f"            connection.sendall({value.encode()!r})\n"
    )
    command = interpreter.command(("-I", "-c", program), ports={outer: inner})
    found = b""

    def is_reached() -> bool:
        nonlocal found
        with suppress(OSError), socket.create_connection(("127.0.0.1", outer), 1.0) as reached:
            found = reached.recv(64)
        return bool(found)

    with started(command):
        wait_until(is_reached, law_timeout)
    look = (
        "Lead each port of this machine in ports to the port of the process behind it, or say "
        "with isolates_network = False that it has this machine's network."
    )
    expect(found.decode(), value, "What a process says at a port that leads to it", look)


def test_the_channel_of_an_interpreter_leads_to_its_process(
    unbuilt: Environment, law_folder: Path, law_timeout: float
) -> None:
    """
    What an interpreter says of its *channel* holds: the descriptors, or the socket, that a
    worker is spoken to with reach the process.
    """
    interpreter = _build(unbuilt)
    value = uuid.uuid4().hex
    if interpreter.channel == "streams":
        command = interpreter.command(("-I", "-c", f"print({value!r})"))
        found = run(command, law_timeout)
    elif interpreter.channel == "socket":
        found = _send_through_socket(unbuilt, interpreter, law_folder, value, law_timeout)
    else:
        found = _send_through_descriptor(interpreter, value, law_timeout)
    look = f"Name a channel that reaches the process: this one says {interpreter.channel!r}."
    expect(found, value, "What a process sent through the channel of its interpreter", look)


def _send_through_descriptor(interpreter: Interpreter, value: str, timeout: float) -> str:
    """Return what a process writes to a descriptor that it is given."""
    reader, writer = os.pipe()
    # Any number reaches a process that inherits, and those from 3 on one that is passed them.
    number = writer if interpreter.channel == "inherited" else 3
    program = f"import os; os.write({number}, {value.encode()!r})"
    try:
        command = interpreter.command(("-I", "-c", program), descriptors=1)
        run(command, timeout, given=writer, number=number)
    finally:
        os.close(writer)
    with open(reader) as file:
        return file.read()


def _send_through_socket(
    environment: Environment,
    interpreter: Interpreter,
    folder: Path,
    value: str,
    timeout: float,
) -> str:
    """Return what a process sends to a socket in a folder that it is told."""
    there, binds = _place(environment, folder)
    program = (
        "import socket; reached = socket.socket(socket.AF_UNIX); "
        f"reached.connect({there + '/s'!r}); reached.sendall({value.encode()!r})"
    )
    command = interpreter.command(("-I", "-c", program), binds=binds)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        server.listen()
        run(command, timeout)
        server.setblocking(False)
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return ""
        with connection:
            return connection.recv(64).decode()


def test_a_process_ends_as_its_command_says(
    unbuilt: Environment, law_folder: Path, law_timeout: float
) -> None:
    """
    If what was started is killed, the process ends with it, or by ``stop_argv``, which may
    be run twice.
    """
    interpreter = _build(unbuilt)
    if interpreter.channel == "streams" and unbuilt.isolates_files:
        pytest.skip(_ELSEWHERE)
    there, binds = _place(unbuilt, law_folder)
    (law_folder / "lock").touch()
    program = (
        "import fcntl, time\n"
        f"file = open({there + '/lock'!r}, 'r+')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('up', flush=True)\n"
        f"time.sleep({10 * law_timeout})\n"
    )
    command = interpreter.command(
        ("-I", "-c", program), binds=binds, name=f"fal-core-law-{os.getpid()}"
    )
    lock = law_folder / "lock"
    with started(command) as process:
        assert process.stdout is not None
        expect(process.stdout.readline(), "up\n", "The first line of a process", _WHOLE)
        process.kill()
        for _ in range(2):
            stop(command)
        assert wait_until(lambda: not is_locked(lock), law_timeout), (
            "What a command had started was killed, and the process goes on. Give the command "
            "a stop_argv that ends the process, or let the process be what is started."
        )


def _place(environment: Environment, folder: Path) -> tuple[str, dict[str, str]]:
    """Return where processes see *folder*, and what an interpreter is told of it."""
    there = _THERE if environment.isolates_files else str(folder)
    return there, {str(folder): there}
