"""Commands in runners, as the released clients run them."""

from __future__ import annotations

import pytest

#: Runs commands of ``fal`` in its own process, as the import of the client takes longer than
#: all of them. *typed* is what a terminal types, once the command has written something.
PROGRAM = """
import io, json, os, pty, sys, threading
import fal
from fal.api.client import SyncServerlessClient
from fal.cli.main import main

@fal.function(requirements=[], keep_alive=300)
def mark():
    import os
    os.environ["MARK"] = "of the function"
    return os.getpid()

pid = mark()
runners = SyncServerlessClient().runners.list()
[runner] = [each for each in runners if each.state.value == "IDLE"]

def fal_runners(*arguments, given=None, typed=None):
    streams = sys.stdin, sys.stdout, sys.stderr
    written = [io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2)]
    sys.stdout, sys.stderr = written
    if typed is not None:
        here, there = pty.openpty()
        sys.stdin = os.fdopen(there)
        def type_it():
            while not written[0].buffer.getvalue():
                threading.Event().wait(0.02)
            os.write(here, typed)
        threading.Thread(target=type_it, daemon=True).start()
    elif given is not None:
        read, write = os.pipe()
        os.write(write, given)
        os.close(write)
        sys.stdin = os.fdopen(read)
    try:
        code = main(["runners", *arguments])
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    return [code or 0, *(each.buffer.getvalue().decode() for each in written)]

id = runner.runner_id
print("JSON " + json.dumps([pid, [
    fal_runners("exec", id, "--", "sh", "-c", "echo $MARK $PPID; echo wrong >&2; exit 3"),
    fal_runners("exec", "-it", id, "wc", "-c", given=b"12345"),
    fal_runners("exec", "-it", id, "sh", "-c",
        "test -t 0 && echo ready; read x; echo $x; exit 4", typed=b"sesame\\r"),
    fal_runners("shell", id, given=b"echo $((6 * 7)); exit 5\\n"),
    fal_runners("exec", "no-runner", "true"),
]]))
"""


@pytest.mark.usefixtures("newest_clients")
def test_released_clients(applied):
    """
    ``fal runners exec`` and ``fal runners shell`` run commands beside the function of a
    runner, with a terminal and without, and end with their exit codes.
    """
    pid, told = applied.python(PROGRAM)
    plain, piped, on_terminal, shell, unknown = told
    assert plain[:2] == [3, f"of the function {pid}\n"]
    assert plain[2].endswith("wrong\n")
    assert piped[:2] == [0, "5\n"]
    assert on_terminal[0] == 4
    assert on_terminal[1].splitlines()[0] == "ready"
    assert on_terminal[1].splitlines()[-1] == "sesame"
    assert shell[0] == 5
    assert "42" in shell[1].splitlines()
    assert unknown[0] == 1
    assert "was not found" in unknown[1] + unknown[2]
