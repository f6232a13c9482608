"""
Shells: commands that run beside a function, for users who may enter its runner.

The request is sent in chunks: a header in JSON, and then a message in each chunk, whose first
byte is its kind. The response has messages too, each after its kind and its length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import struct
import sys
from collections.abc import Sequence
from typing import Any

#: The kinds of messages to a command: what it reads, the end of that, and the size of its
#: terminal.
DATA, END, SIZE = b"d", b"e", b"s"

#: The kinds of messages of a command: what it has written, and how it has ended.
OUTPUT, ERRORS, EXIT = b"1", b"2", b"x"

#: What stands in front of a message of a command: its kind, and its length.
HEAD = struct.Struct("<cI")

#: An exit code, and the lines and columns of a terminal.
CODE, TERMINAL = struct.Struct("<i"), struct.Struct("<HH")

#: The largest message, in bytes.
LARGEST = 1 << 20

_PIECE = 1 << 16

#: Seconds in which output may still come that a command has left to others.
_LAST_OUTPUT = 1.0

#: Seconds between two looks whether somebody waits for a command that does not read.
_LOOK = 0.5

#: Seconds in which a command ends that nobody waits for, before it is killed.
_GRACE = 2.0

#: Starts a command in a new session, with the given terminal as its controlling terminal.
_ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr)
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""


async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """
    Run the command that a request asks for, until it has ended or nobody waits for it.

    Raises:
        ConnectionError: Nobody waits for it any longer.
    """
    header = json.loads(await _read_chunk(reader))
    command = [str(each) for each in header["command"]] or [find_shell()]
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    shell = _Shell(reader, writer)
    try:
        code = await shell.run(command, on_terminal=bool(header["tty"]))
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        shell.write(ERRORS, f"{command[0]}: {error.strerror}\n".encode())
        code = 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        shell.close()
    shell.write(EXIT, CODE.pack(code))
    await writer.drain()


def find_shell() -> str:
    """Return the path of the shell that people get."""
    wanted = (os.environ.get("SHELL"), "bash", "sh")
    found = (shutil.which(each) for each in wanted if each)
    return next(filter(None, found), "/bin/sh")


def _resize(terminal: int, lines: int, columns: int) -> None:
    # A few commands need them.
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class _Shell:
    """One command, and its connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._opened: set[int] = set()

    def write(self, kind: bytes, content: bytes) -> None:
        """Send a message."""
        self._writer.write(HEAD.pack(kind, len(content)) + content)

    def close(self) -> None:
        """Close what is open."""
        self._close(*self._opened)

    def _close(self, *descriptors: int) -> None:
        for each in descriptors:
            self._opened.discard(each)
            os.close(each)

    async def run(self, command: Sequence[str], *, on_terminal: bool) -> int:
        """
        Run a command, and return its exit code.

        Raises:
            ConnectionError: Nobody waits for it any longer; it was ended.

            OSError: It cannot be started.
        """
        start = self._start_on_terminal if on_terminal else self._start
        process, given, taken = await start(command)
        passing = [asyncio.ensure_future(self._pass(*each)) for each in taken]
        feeding = asyncio.ensure_future(self._feed(given, on_terminal=on_terminal))
        ending = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({ending, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                raise ConnectionError("Nobody waits for the command.")
            await asyncio.wait(passing, timeout=_LAST_OUTPUT)
            code = ending.result()
            return code if code >= 0 else 128 - code
        finally:
            for task in (feeding, *passing):
                task.cancel()
            await asyncio.gather(feeding, *passing, return_exceptions=True)
            # Its terminal hangs up.
            self.close()
            await _end(process, ending)

    async def _start(
        self, command: Sequence[str]
    ) -> tuple[asyncio.subprocess.Process, int, Sequence[tuple[int, bytes]]]:
        """Start a command, and return it with what it is given, and with what it writes."""
        pipes = [os.pipe() for _ in range(3)]
        self._opened.update(*pipes)
        (source, given), (output, to_output), (errors, to_errors) = pipes
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=source,
            stdout=to_output,
            stderr=to_errors,
            env=_variables(),
            start_new_session=True,
        )
        self._close(source, to_output, to_errors)
        for each in (given, output, errors):
            os.set_blocking(each, False)
        return process, given, [(output, OUTPUT), (errors, ERRORS)]

    async def _start_on_terminal(
        self, command: Sequence[str]
    ) -> tuple[asyncio.subprocess.Process, int, Sequence[tuple[int, bytes]]]:
        here, there = os.openpty()
        self._opened.update((here, there))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _ON_TERMINAL, *command),
            stdin=there,
            stdout=there,
            stderr=there,
            env=_variables(),
        )
        self._close(there)
        os.set_blocking(here, False)
        return process, here, [(here, OUTPUT)]

    async def _feed(self, given: int, *, on_terminal: bool) -> None:
        """Give a command what is sent to it. Return when the sender has gone."""
        gone = (asyncio.IncompleteReadError, ConnectionError, ValueError)
        with contextlib.suppress(*gone):
            while chunk := await _read_chunk(self._reader):
                kind, content = chunk[:1], chunk[1:]
                if kind == SIZE and on_terminal:
                    _resize(given, *TERMINAL.unpack(content))
                elif kind == DATA:
                    await self._give(given, content)
                elif kind == END:
                    break
            if on_terminal:
                await self._give(given, b"\x04")
            elif given in self._opened:
                self._close(given)
            while await self._reader.read(_PIECE):
                pass

    async def _give(self, given: int, content: bytes) -> None:
        """
        Write to a command, as far as it reads.

        The end of the connection may stand behind what the command does not read. So an empty
        message is sent now and then, which fails where nobody takes it.

        Raises:
            ConnectionError: Nobody waits for the command any longer.
        """
        giving = asyncio.ensure_future(_give(given, content))
        try:
            while not (await asyncio.wait({giving}, timeout=_LOOK))[0]:
                if self._writer.is_closing():
                    raise ConnectionError("Nobody waits for the command.")
                if not self._writer.transport.get_write_buffer_size():
                    self.write(OUTPUT, b"")
        finally:
            giving.cancel()

    async def _pass(self, taken: int, kind: bytes) -> None:
        """Send what a command writes."""
        loop = asyncio.get_running_loop()
        while True:
            await _until(taken, loop.add_reader, loop.remove_reader)
            try:
                content = os.read(taken, _PIECE)
            except BlockingIOError:
                continue
            except OSError:
                # Nobody has the terminal open any more.
                return
            if not content:
                return
            self.write(kind, content)
            await self._writer.drain()


def _variables() -> dict[str, str]:
    variables = {"TERM": "xterm-256color", **os.environ}
    # The programs of the environment of the function come first.
    folders = (os.path.dirname(sys.executable), variables.get("PATH", os.defpath))
    variables["PATH"] = os.pathsep.join(folders)
    return variables


async def _read_chunk(reader: asyncio.StreamReader) -> bytes:
    """
    Read a chunk of a request. Empty at its end.

    Raises:
        ValueError: There is none.
    """
    size = int(await reader.readline(), 16)
    if not 0 <= size <= LARGEST:
        raise ValueError("The message is too large.")
    return (await reader.readexactly(size + 2))[:-2]


async def _give(given: int, content: bytes) -> None:
    """Write to a command, as far as it reads."""
    loop = asyncio.get_running_loop()
    left = memoryview(content)
    while left:
        await _until(given, loop.add_writer, loop.remove_writer)
        try:
            left = left[os.write(given, left) :]
        except BlockingIOError:
            continue
        except OSError:
            # It reads no more.
            return


async def _until(descriptor: int, add: Any, remove: Any) -> None:
    """Wait until a descriptor can be read, or written."""
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)


async def _end(process: asyncio.subprocess.Process, ending: asyncio.Future[int]) -> None:
    """End a command, and what it has started in its session."""
    for number in (signal.SIGHUP, signal.SIGKILL):
        if not ending.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            await asyncio.wait({ending}, timeout=_GRACE)
