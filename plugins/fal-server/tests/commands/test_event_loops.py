"""How a server ends by signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest
from polling import PATIENCE

from fal_server.commands.event_loops import Ending, run_to_the_end


def start(seconds: float, *, at_first: str = "", at_last: str = "") -> subprocess.Popen[str]:
    """
    Start a process that has so many seconds to end, and wait until it is ready.

    Arguments:
        at_first: What it does before it waits for the end.

        at_last: What it does once it is to end.
    """
    source = f"""
    import asyncio, concurrent.futures, os, signal, time
    from fal_server.commands.event_loops import Ending, run_to_the_end

    ending = Ending({seconds})

    async def main():
        stop = asyncio.Event()
        with ending.watch(stop.set):
            print("ready", flush=True)
            {at_first or "pass"}
            await stop.wait()
            print("ending", flush=True)
            {at_last or "pass"}

    run_to_the_end(main())
    print("done", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def start_held_up(seconds: float, held_up: str) -> subprocess.Popen[str]:
    """Start a process that does what *held_up* says when it is to end, and tell it to."""
    process = start(seconds, at_last=held_up)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "ending\n"
    return process


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """
    Wait for the end of a process, and return its exit code, what it has printed that was not
    read yet, and its errors.
    """
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        # A line that was read may have brought others along, which the stream keeps.
        out, errors = process.stdout.read(), process.stderr.read()
        return process.wait(PATIENCE), out, errors


@pytest.mark.parametrize(
    "held_up",
    [
        "time.sleep(3600)",
        "await asyncio.sleep(3600)",
        "await asyncio.to_thread(time.sleep, 3600)",
    ],
)
def test_end_that_is_held_up(held_up: str):
    """A process that does not end in order is ended, and says so."""
    process = start_held_up(0.5, held_up)
    assert finish(process) == (1, "", "The server did not end in order within 0.5 s.\n")


def test_thread_that_holds_up_the_end_of_python():
    """The process is ended as well where Python waits for a thread after all else is done."""
    process = start_held_up(
        0.5, "concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 3600)"
    )
    assert finish(process) == (1, "done\n", "The server did not end in order within 0.5 s.\n")


def test_event_loop_that_stands_still():
    """A process whose event loop stood still before the first signal is ended all the same."""
    process = start(0.5, at_first="time.sleep(3600)")
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (1, "", "The server did not end in order within 0.5 s.\n")


def test_second_signal_while_the_event_loop_stands_still():
    """A second signal ends it at once."""
    process = start(3600, at_first="time.sleep(3600)")
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        # The system joins signals that the process has not seen yet.
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert finish(process)[0] == -signal.SIGTERM


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
def test_second_signal_comes_before_the_first_is_answered(second: str):
    """A second signal ends the process at once, also where its event loop has not run since."""
    process = start(
        3600,
        at_first=f"os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.{second})",
    )
    assert finish(process) == (-signal.Signals[second], "", "")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(second: signal.Signals):
    """A second signal ends a process that ends by the first one, whichever each of them is."""
    process = start_held_up(3600, "time.sleep(3600)")
    process.send_signal(second)
    assert finish(process)[0] == -second


def test_end_in_order():
    """Nothing becomes of the time that was left."""
    process = start_held_up(3600, "pass")
    assert finish(process) == (0, "done\n", "")


def test_handlers_are_put_back():
    """What ends without a signal leaves nothing behind."""

    async def main() -> None:
        with Ending(3600).watch(lambda: None):
            pass

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    run_to_the_end(main())
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_second_signal_breaks_off_the_requests_of_a_server(start_program: Callable[..., Any]):
    """A server whose requests are not finished waits for them, until the second signal."""
    program = start_program()
    variables = program.wait_until_ready()
    host, _, port = variables["FAL_REST_HOST"].partition(":")
    key = variables["FAL_KEY"].encode()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(
            b"POST /files/missing_hashes HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
            b"Expect: 100-continue\r\nAuthorization: Key %b\r\n\r\n" % key
        )
        assert connection.recv(12) == b"HTTP/1.1 100"
        program.process.send_signal(signal.SIGTERM)
        # It is on its way to the end once it accepts nothing more.
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=PATIENCE).close()
            except ConnectionResetError:
                # It was accepted by the system alone, and is dropped with the listener.
                continue
            except ConnectionRefusedError:
                break
        assert program.end(signal.SIGTERM) == -signal.SIGTERM
