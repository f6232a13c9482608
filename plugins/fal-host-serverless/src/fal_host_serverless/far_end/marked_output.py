"""
The output of a call, marked so that an agent's parent passes it on whole.

Like :mod:`fal_host_serverless.far_end.sent_calls` it travels as source, and needs only
the standard library and the worker.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

#: Separates the text of a line from its level, flags and owner. Nobody prints it.
MARK = "\x1ffal-core:"
#: Characters of a line that are written at once, so that readers see no part of it.
PIECE = 3000
#: Words from which the agent's parent guesses a level.
GUESSED = ("trace", "debug", "info", "warn", "error", "critical", "fatal", "std")
#: Seconds to wait for the agent's parent to read the output.
PATIENCE = 1.0


class StandardStreams:
    """The standard streams of the process, as they were before a call."""

    def __init__(self) -> None:
        self.descriptors: list[int] = [os.dup(number) for number in range(3)]
        names = ("stdin", "stdout", "stderr", "__stdout__", "__stderr__")
        self.streams: dict[str, Any] = {name: getattr(sys, name) for name in names}

    def restore(self) -> None:
        """Restore the streams and their descriptors."""
        for number, descriptor in enumerate(self.descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.__dict__.update(self.streams)


class AgentOutput:
    """
    The output of a call in an agent that captures it itself, line by line.

    Arguments:
        output: The agent's own capture.
    """

    def __init__(self, output: Any) -> None:
        self.output = output
        self.before: StandardStreams = StandardStreams()
        self.opens: bool = False

    def mark(self, flag: str) -> None:
        """
        Report that the function is being opened (``o``) or started (``s``).

        The report is sent at once where the function has to be opened, and otherwise
        with the first output, or after a moment.
        """
        self.opens = self.opens or flag == "o"
        self.output.write("STDOUT", f"{MARK}0:{flag}:")
        if self.opens:
            self.output.flush()

    def finish(self) -> None:
        """Send the rest, and restore the streams."""
        self.output.flush_call()
        self.before.restore()


class CapturedOutput:
    """
    The output of a call, captured by the worker's module and sent line by line.

    The agent's parent splits output at every character that ends a line for Python,
    and merges the two streams. A line that would be damaged is therefore encoded, and
    carries its level, flags and owner after a mark.

    Arguments:
        waits: Wait at the end until the parent has read everything.
    """

    def __init__(self, owner: Any, waits: bool = True) -> None:
        from fal_core_worker.output.capture import Output

        self.before: StandardStreams = StandardStreams()
        self.standard_output: int = self.before.descriptors[1]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.waits = waits
        self.over: threading.Event = threading.Event()
        self.output: Output = Output(self.send)
        self.output.current = lambda: (0, owner())
        self.output.current_below = lambda: (0, "")
        self.output.install()
        self.thread: threading.Thread = threading.Thread(
            target=self.watch, name="output", daemon=True
        )
        self.thread.start()

    def mark(self, flag: str) -> None:
        """Report that the function is being opened (``o``) or started (``s``)."""
        os.write(self.standard_output, f"{MARK}0:{flag}:\n".encode())

    def watch(self) -> None:
        """Send output while the call runs."""
        while not self.over.wait(0.02):
            self.output.flush()

    def send(self, block: list[Any]) -> None:
        """Write the lines of *block* to the agent's own streams."""
        from fal_core_worker.stream.frames import PARTIAL, RECORD

        for level, _, _, owner, lines in block:
            if level & PARTIAL:
                # An unfinished line is sent once it has ended.
                continue
            # A record is one piece of text, with its logger in the first line.
            texts = [lines] if level & RECORD else lines.split("\n")
            for text in texts:
                for piece in encode(text, level, owner):
                    os.write(self.standard_output, piece)

    def finish(self) -> None:
        """Send the rest, and restore the streams."""
        self.over.set()
        self.thread.join()
        self.output.flush_call()
        self.before.restore()
        for descriptor in self.output.descriptors:
            os.close(descriptor)
        if self.waits:
            wait_until_read()


def encode(line: str, level: int, owner: str) -> Any:
    """Yield the bytes of *line*, in pieces that a pipe takes in one write."""
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
    # In JSON a character takes up to twelve bytes, and a quotation mark two.
    size = PIECE // max((len(json.dumps(each)) - 2 for each in set(line)), default=1)
    for start in range(0, len(line) or 1, size):
        more = "+" if start + size < len(line) else ""
        text = json.dumps(line[start : start + size])
        yield f"{text}{MARK}{level}:e{more}:{owner}\n".encode()


def wait_until_read() -> None:
    """
    Wait until the agent's parent has read all output.

    Output that it reads after the result it takes for that of the next call.
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
