"""Commands that run beside a function."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Sequence

import pytest

from fal_server_agent import shells


async def talk(
    command: Sequence[str], *sent: bytes, tty: bool = False, leaves: bytes | None = None
) -> tuple[dict[bytes, bytes], int | None]:
    """
    Run a command, and return what it has written to each stream, and its exit code.

    Arguments:
        leaves: What it has written when the client goes away. None for one that stays.
    """
    attended: list[asyncio.Task[None]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attended.append(asyncio.create_task(shells.attend(reader, writer)))
        await asyncio.wait(attended)
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    header = json.dumps({"command": list(command), "tty": tty}).encode()
    for message in (header, *sent):
        writer.write(b"%x\r\n%b\r\n" % (len(message), message))
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await reader.readuntil(b"\r\n\r\n")
    written: dict[bytes, bytes] = {}
    code = None
    while head := await reader.read(1):
        kind, size = shells.HEAD.unpack(head + await reader.readexactly(4))
        content = await reader.readexactly(size)
        if kind == shells.EXIT:
            (code,) = shells.CODE.unpack(content)
            break
        written[kind] = written.get(kind, b"") + content
        if leaves is not None and leaves in written[kind]:
            break
    writer.close() if leaves is None else writer.transport.abort()
    server.close()
    await asyncio.wait(attended)
    for each in attended:
        each.exception()
    return written, code


def run(*arguments: object, **named: object) -> tuple[dict[bytes, bytes], int | None]:
    return asyncio.run(asyncio.wait_for(talk(*arguments, **named), 60))  # type: ignore[arg-type]  # as they are


def test_streams_and_exit_code():
    """
    Without a terminal, bytes are passed on as they are, each stream by itself, and the exit
    code is that of the command.
    """
    script = "cat; echo wrong >&2; exit 3"
    written, code = run(
        ["sh", "-c", script], shells.DATA + b"\0\r\n\xff", shells.DATA + b"more", shells.END
    )
    assert written == {shells.OUTPUT: b"\0\r\n\xffmore", shells.ERRORS: b"wrong\n"}
    assert code == 3


def test_terminal():
    """
    With a terminal, a command has one of the size that it is told, and its input ends as a
    terminal's does.
    """
    size = shells.SIZE + shells.TERMINAL.pack(33, 99)
    written, code = run(
        ["sh", "-c", "read word; stty size; test -t 1 && echo $word; cat"],
        size,
        shells.DATA + b"sesame\n",
        shells.END,
        tty=True,
    )
    assert code == 0
    assert b"33 99\r\nsesame\r\n" in written[shells.OUTPUT]


def test_a_shell_where_no_command_is_named():
    """Without a command there is a shell, which finds the programs of the environment first."""
    written, code = run([], shells.DATA + b"command -v python; exit 5\n", shells.END)
    assert code == 5
    assert os.path.dirname(written[shells.OUTPUT].decode()) == os.path.dirname(sys.executable)


@pytest.mark.parametrize("tty", [False, True])
def test_command_that_there_is_not(tty: bool):
    """A command that there is not ends as in a shell, and says so."""
    written, code = run(["no-such-command"], shells.END, tty=tty)
    assert code == 127
    assert b"no-such-command: No such file" in b"".join(written.values())


def test_killed_command():
    """A command that a signal has ended has the exit code that shells give it."""
    _, code = run(["sh", "-c", "kill -9 $$"], shells.END)
    assert code == 128 + signal.SIGKILL


def test_what_a_command_leaves_is_not_waited_for():
    """A session ends with its command, and not with what that leaves in the background."""
    written, code = run(["sh", "-c", "sleep 1000 & echo $!"], shells.END)
    os.kill(int(written[shells.OUTPUT]), signal.SIGKILL)
    assert code == 0


@pytest.mark.parametrize("tty", [False, True])
def test_command_ends_with_its_client(tty: bool):
    """A command that nobody waits for any longer is ended, also where it ignores a hangup."""
    script = "trap '' HUP; echo $$ up; while :; do sleep 0.1; done"
    written, code = run(["sh", "-c", script], tty=tty, leaves=b"up")
    assert code is None
    with pytest.raises(ProcessLookupError):
        os.kill(int(written[shells.OUTPUT].split()[0]), 0)


@pytest.mark.parametrize("tty", [False, True])
def test_command_that_reads_nothing_ends_with_its_client(tty: bool):
    """A command that does not read what it is sent ends with its client all the same."""
    sent = [shells.DATA + b"x" * 1000] * 4000
    written, code = run(["sh", "-c", "echo $$ up; sleep 1000"], *sent, tty=tty, leaves=b"up")
    assert code is None
    shown = written[shells.OUTPUT].decode()
    with pytest.raises(ProcessLookupError):
        os.kill(int(re.search(r"(\d+) up", shown)[1]), 0)  # type: ignore[index]  # it is there
