"""
The guard of a build: a process between this one and the engine, which ends the engine and
removes what it leaves once this process has closed its input, however it ended.

It is run by its path, and imports the standard library alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

#: Seconds between two looks at whether the engine has ended.
_PAUSE = 0.02
#: Seconds after which all its child processes are killed, and after which itself, or itself
#: where it has made containers: killed as it writes a layer, it would leave them.
_HARDER, _HARDEST, _LAST_RESORT = 2.0, 15.0, 600.0
#: Seconds that what is run afterwards may take.
_AFTERWARDS = 60.0
#: Seconds that the last lines of the engine have to come.
_LAST = 1.0


def main(text: str) -> int:
    """
    Run the command in the JSON object *text* to its end, and return its exit code.

    Its keys are *command*, *by_signal* (whether a signal makes the engine clean up),
    *afterwards* (what to run if it was ended) and *folder* (what to remove then).
    """
    work = json.loads(text)
    process = subprocess.Popen(
        work["command"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    closed = threading.Event()
    threading.Thread(target=wait_for_end_of_input, args=(closed,), daemon=True).start()
    passing = threading.Thread(target=pass_on, args=(process,), daemon=True)
    passing.start()
    while process.poll() is None and not closed.wait(_PAUSE):
        pass
    if process.poll() is None:
        hardest = _LAST_RESORT if work["afterwards"] else _HARDEST
        end(process, by_signal=work["by_signal"], hardest=hardest)
        quiet = subprocess.DEVNULL
        for command in work["afterwards"]:
            try:
                subprocess.run(
                    command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_AFTERWARDS
                )
            except subprocess.TimeoutExpired:
                pass
    # A process that the engine has left behind may hold its output.
    passing.join(_LAST)
    if closed.is_set():
        remove(work["folder"])
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def wait_for_end_of_input(closed: threading.Event) -> None:
    """Set *closed* once the input has been closed."""
    while os.read(0, 4096):
        pass
    closed.set()


def pass_on(process: subprocess.Popen[bytes]) -> None:
    """
    Pass on what the engine prints, and read it even if nobody takes it: an engine that cannot
    print ends at once, and leaves its containers.
    """
    assert process.stdout is not None
    is_taken = True
    while block := os.read(process.stdout.fileno(), 65536):
        try:
            while is_taken and block:
                block = block[os.write(1, block) :]
        except OSError:
            is_taken = False


def end(
    process: subprocess.Popen[bytes], *, by_signal: bool, hardest: float = _HARDEST
) -> None:
    """
    End the engine so that it removes its containers itself.

    An engine without a daemon does that once a step has failed, and not at a signal: so what
    it runs in a container is killed, until it ends.
    """
    began = time.monotonic()
    if by_signal:
        process.terminate()
    while process.poll() is None:
        passed = time.monotonic() - began
        if passed > hardest:
            process.kill()
        elif not by_signal:
            for child in descendants(process.pid):
                if passed > _HARDER or is_in_container(child):
                    send_kill(child)
        time.sleep(_PAUSE)


def descendants(parent: int) -> list[int]:
    """Return the processes below *parent*."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stream:
                    fields = stream.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, waiting = [], [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def is_in_container(process: int) -> bool:
    """Tell whether *process* has other process ids than this one sees."""
    try:
        return os.readlink(f"/proc/{process}/ns/pid") != os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def send_kill(process: int) -> None:
    """Kill *process*, if it is there."""
    try:
        os.kill(process, signal.SIGKILL)
    except OSError:
        pass


def remove(folder: str) -> None:
    """Remove *folder*, directories that nobody may write to included."""
    for path, _, _ in os.walk(folder):
        try:
            os.chmod(path, 0o700)
        except OSError:
            pass
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
