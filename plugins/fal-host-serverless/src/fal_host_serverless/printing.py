"""
What a call prints at the far end, and how it gets through an agent whole.

Like :mod:`fal_host_serverless.arrival` it travels as source, and needs nothing but the
standard library and the worker's.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

#: Stands between a line and what it is: level, flags and owner. Nobody prints it.
MARK = "\x1ffal-core:"
#: Characters of a line that are written at once, so that no reader sees a part.
PIECE = 3000
#: Words by which the agent's parent guesses a level.
GUESSED = ("trace", "debug", "info", "warn", "error", "critical", "fatal", "std")
#: Seconds to wait until the agent has read what was printed.
PATIENCE = 1.0


class Streams:
    """
    The standard streams of a process, as they are before a call.
    """

    def __init__(self) -> None:
        self.descriptors = [os.dup(number) for number in range(3)]
        names = ("stdin", "stdout", "stderr", "__stdout__", "__stderr__")
        self.streams = {name: getattr(sys, name) for name in names}

    def restore(self) -> None:
        """
        Put everything back.
        """
        for number, descriptor in enumerate(self.descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.__dict__.update(self.streams)


class Left:
    """
    What the call prints in an agent that catches it by itself, line by line.

    Arguments:
        output: What the agent catches it with.
    """

    def __init__(self, output: Any) -> None:
        self.output = output
        self.before = Streams()
        self.opens = False

    def mark(self, flag: str) -> None:
        """
        Tell what the call begins with: ``o``, it is opened; ``s``, it is started.

        It is told at once where the call has to be opened, and otherwise with the first
        that is printed, or after a moment.
        """
        self.opens = self.opens or flag == "o"
        self.output.write("STDOUT", f"{MARK}0:{flag}:")
        if self.opens:
            self.output.flush()

    def finish(self) -> None:
        """
        Tell what is left, and put everything back.
        """
        self.output.flush_call()
        self.before.restore()


class Printed:
    """
    What the call prints, caught by the worker's own means and told line by line.

    The agent's parent reads what comes, takes it apart at anything that ends a line
    for Python, and cannot tell the two streams apart. So a line that would suffer says
    at its end what it is, and what is left of it there is in whole.

    Arguments:
        waits: Whether the end waits until the parent has read what was printed.
    """

    def __init__(self, owner: Any, waits: bool = True) -> None:
        from fal_core_worker.output.capture import Output

        self.before = Streams()
        self.standard_output = self.before.descriptors[1]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.waits = waits
        self.over = threading.Event()
        self.output = Output(self.tell)
        self.output.current = lambda: (0, owner())
        self.output.current_below = lambda: (0, "")
        self.output.install()
        self.thread = threading.Thread(target=self.watch, name="output", daemon=True)
        self.thread.start()

    def mark(self, flag: str) -> None:
        """
        Tell what the call begins with: ``o``, it is opened; ``s``, it is started.
        """
        os.write(self.standard_output, f"{MARK}0:{flag}:\n".encode())

    def watch(self) -> None:
        """
        Tell what was printed, while the call runs.
        """
        while not self.over.wait(0.02):
            self.output.flush()

    def tell(self, block: bytes) -> None:
        """
        Write the lines of *block* to the agent's own streams.
        """
        import marshal

        from fal_core_worker.stream.frames import PARTIAL

        for level, _, _, owner, lines in marshal.loads(block):
            if level >= PARTIAL:
                # It comes as a whole once it has ended.
                continue
            for line in lines.split("\n"):
                for piece in encode(line, level, owner):
                    os.write(self.standard_output, piece)

    def finish(self) -> None:
        """
        Tell what is left, and put everything back.
        """
        self.over.set()
        self.thread.join()
        self.output.flush_call()
        self.before.restore()
        for descriptor in self.output.descriptors:
            os.close(descriptor)
        if self.waits:
            wait_until_read()


def encode(line: str, level: int, owner: str) -> Any:
    """
    Yield the bytes of *line*, in pieces that a pipe takes at once.
    """
    import json

    plain = line.replace("\t", "").isprintable()
    short = len(line) <= PIECE and (line.isascii() or len(line) <= PIECE // 4)
    lowered = line.lower()
    clear = not line.startswith("{") and not any(word in lowered for word in GUESSED)
    if not level and not owner and plain and short and clear:
        yield f"{line}\n".encode("utf-8", "backslashreplace")
        return
    if plain and short:
        text = line.encode("utf-8", "backslashreplace").decode()
        yield f"{text}{MARK}{level}::{owner}\n".encode()
        return
    # A character takes up to twelve bytes there, as a quotation mark takes two.
    size = PIECE // max((len(json.dumps(each)) - 2 for each in set(line)), default=1)
    for start in range(0, len(line) or 1, size):
        more = "+" if start + size < len(line) else ""
        text = json.dumps(line[start : start + size])
        yield f"{text}{MARK}{level}:e{more}:{owner}\n".encode()


def wait_until_read() -> None:
    """
    Wait until the agent's parent has read what was printed.

    What it reads after the result it takes for the next call's.
    """
    import struct
    import time

    try:
        import fcntl
        import termios
    except ImportError:
        return
    until = time.monotonic() + PATIENCE
    for descriptor in (1, 2):
        try:
            while time.monotonic() < until:
                answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
                if not struct.unpack("i", answer)[0]:
                    break
                time.sleep(0.001)
        except OSError:
            continue
    time.sleep(0.005)
