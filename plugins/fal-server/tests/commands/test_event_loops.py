"""
How a server ends by signals.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from polling import PATIENCE

from fal_server.commands.event_loops import Ending


def start_held_up(seconds: float, held_up: str) -> subprocess.Popen[str]:
    """
    Start a process that has so many seconds to end, and does what *held_up* says instead.
    """
    source = f"""
    import asyncio, time
    from fal_server.commands.event_loops import Ending, run_to_the_end

    ending = Ending({seconds})

    async def main():
        stop = asyncio.Event()
        ending.watch(stop.set)
        print("ready", flush=True)
        await stop.wait()
        print("ending", flush=True)
        {held_up}

    with ending.limited():
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
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    return process


@pytest.mark.parametrize(
    "held_up",
    [
        "time.sleep(3600)",
        "await asyncio.sleep(3600)",
        "await asyncio.to_thread(time.sleep, 3600)",
    ],
)
def test_end_that_is_held_up(held_up: str):
    """
    A process that does not end in order is ended, whatever holds it up, and says so.
    """
    process = start_held_up(0.5, held_up)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert errors == "The server did not end in order within 0.5 s.\n"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(second: signal.Signals):
    """
    A second signal ends a process that ends by the first one, whichever each of them is.
    """
    process = start_held_up(3600, "time.sleep(3600)")
    process.send_signal(second)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -second


def test_end_in_order():
    """
    Nothing becomes of the time that was left.
    """
    process = start_held_up(3600, "pass")
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, errors) == (0, "done\n", "")


def test_time_begins_with_a_signal():
    """
    What ends without a signal has all the time.
    """
    with Ending(3600).limited():
        pass


def test_second_signal_breaks_off_the_requests_of_a_server(start_program: Callable[..., Any]):
    """
    A server whose requests are not finished waits for them, until the second signal.
    """
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
            except ConnectionRefusedError:
                break
        assert program.end(signal.SIGTERM) == -signal.SIGTERM
