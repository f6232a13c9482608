"""
A Python that another program starts: a kind of environment for the laws of interpreters.

The program stands for a container engine: it talks all the time, passes on what its
interpreter promises and nothing else, and ends its Python when it is asked to by another
command.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import THIS_PYTHON, Channel, Command, Environment, Interpreter
from fal_core.errors import HostError, OptionError
from fal_core.events import LogSink
from fal_core.hooks import hookimpl
from fal_core.plugins import registered

#: A plugin, which is registered for a while.
fal_core_api = 1

#: Starts the command behind its first three arguments: how many descriptors it passes on, a
#: file for the process ID, and whether standard output is its own.
_LAUNCH = """\
import os, signal, sys, time
count, path, talks = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
os.closerange(3 + count, 1024)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if not child:
    for number in range(3, 3 + count):
        os.set_inheritable(number, True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execv(sys.argv[4], sys.argv[4:])
for number in range(3, 3 + count):
    os.close(number)
with open(path + ".new", "w") as file:
    file.write(str(child))
os.rename(path + ".new", path)
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 0)
if not talks:
    os.dup2(null, 1)
while True:
    try:
        os.write(2, b"the launcher is up\\n")
        if talks:
            os.write(1, b"the launcher is still up\\n")
    except OSError:
        pass
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    time.sleep(0.005)
"""

#: Ends what has been started, and leaves a file that says so.
_STOP = """\
import os, signal, sys
open(sys.argv[1] + ".stopped", "w").close()
with open(sys.argv[1]) as file:
    os.kill(int(file.read()), signal.SIGKILL)
"""

#: The exit code of a Python that the program is told to explain.
EXPLAINED = 77


class Launched:
    """
    What has become of the processes of one environment.

    Attributes:
        folder: Where they leave their files.

        names: The names that hosts have given them, None where they gave none.

        ports: The ports that hosts have told each of them.

        was_built_here: Whether the environment was built in this process.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.names: list[str | None] = []
        self.ports: list[Mapping[int, int]] = []
        self.was_built_here = False

    @property
    def was_stopped(self) -> bool:
        """Whether the command was run that ends one of them."""
        return any(Path(self.folder).glob("*.stopped"))


_launched: dict[str, Launched] = {}


@attrs.frozen(kw_only=True)
class LaunchedPython(Environment):
    """
    The running Python, which another program starts.

    Attributes:
        law_folder: Where the processes leave their files.

        law_channel: What of a worker's descriptors the program passes on.

        law_network: Whether it says that the processes have a network of their own.
    """

    kind: ClassVar[str] = "launched-python"

    law_folder: str
    law_channel: str = "streams"
    law_network: bool = False

    @property
    def isolates_network(self) -> bool:
        return self.law_network

    @property
    def key(self) -> str:
        told = (self.kind, self.law_folder, self.law_channel, self.law_network)
        return digest(repr(told).encode())

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        _launched[self.law_folder].was_built_here = True
        return LauncherInterpreter(self.law_folder, self.law_channel)

    def extend(self, requirements: Iterable[str]) -> LaunchedPython:
        raise OptionError(f"Kind {self.kind!r} takes no requirements.")


class LauncherInterpreter(Interpreter):
    """A Python that another program starts."""

    python_version: str | None = THIS_PYTHON

    def __init__(self, folder: str, channel: Any) -> None:
        self.channel: Channel = channel
        self._folder = folder

    def command(
        self,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str] = {},
        ports: Mapping[int, int] = {},
        name: str | None = None,
        descriptors: int = 0,
        **_: Any,
    ) -> Command:
        launched = _launched[self._folder]
        launched.ports.append(ports)
        launched.names.append(name)
        path = os.path.join(self._folder, f"{name}-{os.urandom(4).hex()}")
        python = (sys.executable, "-I", "-S", "-c")
        told = (str(descriptors), path, str(descriptors > 0))
        return Command(
            argv=(*python, _LAUNCH, *told, sys.executable, *arguments),
            variables=variables,
            stop_argv=(*python, _STOP, path),
            explain=_explain,
        )


def _explain(code: int, said: str) -> HostError | None:
    heard = "said so" if "the launcher is up" in said else "said nothing"
    return HostError(f"The law's launcher {heard}.") if code == EXPLAINED else None


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``launched-python``."""
    return [LaunchedPython]


@contextmanager
def launched_python() -> Iterator[Launched]:
    """
    Yield what becomes of functions of the kind ``launched-python`` that have its folder as
    their ``law_folder``, while the context lasts.
    """
    folder = tempfile.mkdtemp(prefix="fal-core-law-")
    _launched[folder] = launched = Launched(folder)
    try:
        with registered(sys.modules[__name__]):
            yield launched
    finally:
        del _launched[folder]
        shutil.rmtree(folder, ignore_errors=True)
