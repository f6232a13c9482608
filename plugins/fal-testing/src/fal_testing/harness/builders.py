"""Builders: other processes that open environments, and build one at the same moment."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys

import attrs

from fal_core.environments import Environment
from fal_core.reprs import show_fields

#: How the line begins that a builder is told who waits for another one, as a
#: ``DirectoryStore`` says it.
WAITING = "Waiting for "

#: Imports once, and forks: otherwise most of the time would go into imports.
_PROGRAM = """\
import importlib, json, os, pickle, pkgutil, sys
from threading import Event

sys.path[:] = json.loads(sys.argv[1])
count = int(sys.argv[2])
environment = pickle.load(sys.stdin.buffer)
package = sys.modules[type(environment).__module__.partition(".")[0]]
modules = pkgutil.walk_packages(getattr(package, "__path__", ()), package.__name__ + ".")
names = [each.name for each in modules if not each.name.endswith("__main__")]
for module in ["fal_core.stores.builds", *names]:
    try:
        importlib.import_module(module)
    except Exception:
        pass
reader, writer = os.pipe()
together, gate = os.pipe()

def build():
    lines, error = [], ""
    try:
        environment.build(lambda line: lines.append(line.message[:100]), Event())
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"[:500]
    # Few enough bytes to be written at once.
    told = {"lines": lines[:10], "error": error}
    os.write(writer, json.dumps(told).encode() + b"\\n")

for _ in range(count):
    if not os.fork():
        os.close(gate)
        os.read(together, 1)
        build()
        os._exit(0)
os.close(gate)
os.close(writer)
with open(reader, "rb") as told:
    sys.stdout.buffer.write(told.read())
for _ in range(count):
    os.wait()
"""


#: Opens an environment, and sends it back with its key.
_OPEN = """\
import json, pickle, sys

sys.path[:] = json.loads(sys.argv[1])
environment = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps((pickle.dumps(environment), environment.key)))
"""


def send_away(environment: Environment, timeout: float) -> tuple[object, str]:
    """
    Send *environment* to another process and back, and return it with the key that it has
    there.
    """
    # What hashes of text are here, they are not there.
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, json.dumps(sys.path)],
        input=pickle.dumps(environment),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
        timeout=timeout,
    )
    said = done.stderr.decode(errors="replace").strip().splitlines()
    assert not done.returncode, (
        f"An environment could not be opened in another process: {said[-1:]}. Detached work "
        "and servers build it there: have its class in a module that can be imported."
    )
    sealed, key = pickle.loads(done.stdout)
    return pickle.loads(sealed), str(key)


@attrs.frozen
class Built:
    """
    What became of one of the processes.

    Attributes:
        lines: The first lines that it was told by its builder.

        error: What its build raised; empty if it raised nothing.
    """

    __repr__ = show_fields

    lines: tuple[str, ...]
    error: str = ""

    @property
    def has_waited(self) -> bool:
        """Whether it has waited for another one to build."""
        return any(line.startswith(WAITING) for line in self.lines)

    @property
    def has_built(self) -> bool:
        """Whether it has built itself, and not found what another one had built."""
        return any(not line.startswith(WAITING) for line in self.lines)


def build_at_once(environment: Environment, count: int, timeout: float) -> list[Built]:
    """
    Have *count* processes build *environment* at the same moment.

    Raises:
        AssertionError: They have not all ended after *timeout* seconds.
    """
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            told, _ = process.communicate(pickle.dumps(environment), timeout=timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{count} processes built one environment at once, and had not all ended after "
                f"{timeout:g} s. Let go of the lock of a build as soon as it has ended."
            ) from None
        finally:
            _end(process)
    found = [json.loads(line) for line in told.splitlines()]
    assert len(found) == count, (
        f"{count} processes built one environment at once, and {count - len(found)} of them "
        "ended without a word: their build ended the process."
    )
    return [Built(tuple(each["lines"]), each["error"]) for each in found]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill *process* and those that it has forked, if any of them is left."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
