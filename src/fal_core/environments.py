"""Environments: where a function's imports come from."""

from __future__ import annotations

import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from fal_core.digests import digest
from fal_core.errors import HostError, OptionError
from fal_core.options import requirement_name
from fal_core.reprs import show_fields

if TYPE_CHECKING:
    from typing_extensions import Self

    from fal_core.events import LogSink
    from fal_core.machines import HeldLimits, Machine


#: The oldest Python that a worker runs on.
OLDEST_PYTHON = (3, 10)
#: The minor version of the Python that runs here, as in ``3.11``.
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: How a worker can be spoken to in a process that an interpreter starts, see
#: :class:`Interpreter`.
Channel = Literal["inherited", "passed", "socket", "streams"]

#: Seconds that a Python may take to say which it is.
_PATIENCE = 60.0


@attrs.frozen(kw_only=True)
class Command:
    """
    One process to start, and how to end it.

    Attributes:
        argv: The whole command; a host never edits it.

        variables: What the process needs in its environment beside what the
            host passes on.

        directory: Where to start it. None for a directory of the host's choice.

        stop_argv: A command that ends the process where a signal would not
            reach it, as in a container, or what is left of it once the
            program that was started has failed. None where a signal does.

        explain: Returns why the process has ended, of its exit code, which is
            negative for a signal, and of what it printed last to standard
            error. None, or a result of None, where there is no better reason
            than these.
    """

    __repr__ = show_fields

    argv: tuple[str, ...]
    variables: Mapping[str, str] = attrs.field(factory=dict)
    directory: str | None = None
    stop_argv: tuple[str, ...] | None = None
    explain: Callable[[int, str], HostError | None] | None = attrs.field(
        default=None, eq=False, repr=False
    )


class Interpreter(ABC):
    """
    A Python that can be started, in the environment that was built.

    Attributes:
        channel: How a worker in the process is best spoken to by a host on this machine.
            Standard input and output do for every interpreter, and are the slowest.

            - ``inherited``: any descriptor that is open reaches the process, as it does
              where no other program stands between.
            - ``passed``: as many descriptors as :meth:`command` is told reach it, from 3
              on. The standard streams are those of the program that passes them.
            - ``socket``: a Unix socket in a directory of *binds* can be connected to, and
              descriptors be received there.
            - ``streams``: standard input and output, and nothing else.

        python_version: As in ``3.11``. None if it is unknown until it starts.
    """

    channel: Channel = "streams"
    python_version: str | None = None

    @property
    def joins_networks(self) -> bool:
        """Whether its processes can be in a network namespace that a host has made."""
        return False

    @abstractmethod
    def command(
        self,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str] = {},
        binds: Mapping[str, str] = {},
        ports: Mapping[int, int] = {},
        machine: Machine | None = None,
        name: str | None = None,
        descriptors: int = 0,
        network: str | None = None,
    ) -> Command:
        """
        Return the command that starts this Python with *arguments*.

        With *arguments* alone it is that of a process whose standard input and output are
        those of the Python in it.

        Arguments:
            variables: Environment variables that the process must see, besides those of
                the process that runs it. None of their values is in the command line, which
                other users may read.

            binds: Directories of this machine, and where the process must see
                them. An interpreter that shares the file system ignores it.

            ports: Ports of this machine, each with the port of the process behind it. An
                interpreter that shares the network ignores it.

            machine: The resources to limit the process to, if it can enforce limits.

            name: A name for the process where one can be given, which no other has. None
                for one of the interpreter's choice.

            descriptors: How many descriptors, from 3 on, must reach the process.

            network: The path of the network namespace that the process must be in, where
                it :attr:`joins_networks`. None for a network of the interpreter's choice.
        """


class Environment(ABC):
    """
    What a function needs around it. Its attrs fields are its options.

    A subclass is a frozen attrs class with keyword-only fields that names
    itself through *kind*. It may also have a field ``python_version``.

    Attributes:
        kind: What users write, as in ``virtualenv``.

        brings_python: Whether its Python is known only once it is built, unless it names a
            ``python_version``, as that of an image. Otherwise it is that of the caller.
    """

    kind: ClassVar[str]
    brings_python: ClassVar[bool] = False

    @property
    def isolates_network(self) -> bool:
        """
        Whether its processes have a network of their own, so that a port of theirs is reached
        through one of the *ports* that :meth:`Interpreter.command` is told.
        """
        return False

    @property
    def isolates_files(self) -> bool:
        """
        Whether its processes have a file system of their own, in which they see of this
        machine no more than the *binds* that :meth:`Interpreter.command` is told.
        """
        return False

    def joins_networks(self) -> bool:
        """Tell whether its interpreters :attr:`~Interpreter.joins_networks`."""
        return False

    def network_problem(self) -> str:
        """
        Return why others reach the ports of its processes in a network that no host has made
        for them, as a sentence. Empty if nobody does.
        """
        return ""

    @property
    @abstractmethod
    def key(self) -> str:
        """
        A digest of the declaration, the interpreter, the platform and the index.

        Equal keys may share one built environment. It holds no credentials.
        """

    @abstractmethod
    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        """
        Build the environment, or find it built, and return its interpreter.

        Many threads and processes may call it at once for one key; one of them builds,
        the others wait. What the builder prints goes to *log*.

        Raises:
            EnvironmentBuildError: The environment cannot be built.

            Cancelled: *cancelled* was set.
        """

    @abstractmethod
    def extend(self, requirements: Iterable[str]) -> Self:
        """Return this environment with *requirements* added as a layer."""

    def is_built(self) -> bool:
        """Tell whether the environment is built already."""
        return False

    def obstacle(self) -> str:
        """
        Return what keeps this machine from having the environment, as a sentence; empty if
        nothing is known to. It is asked for ``fal-core explain``, and builds nothing.
        """
        return ""

    def for_machine(self, machine: Machine) -> Self:
        """
        Return this environment as it is to be built for *machine*, the machine type of a
        call. By default it is the same for all.

        What it makes of the machine stands in its *key*.
        """
        return self

    def held_limits(self) -> HeldLimits | None:
        """
        Return which sizes of a machine the processes of this environment are held to by the
        program that starts them, such as a container engine. None where no program does.

        It is asked before the environment is built, and may have to try it out.
        """
        return None

    def stamp(self) -> object:
        """
        Return a value that changes with the source files that the environment refers to.

        None if it refers to none. A host that keeps workers compares stamps from time to
        time and replaces workers after a change. The value is hashable and cheap to make.
        """
        return None

    def definition(self) -> dict[str, Any] | None:
        """
        Return the options as a service takes them that builds the environment itself, as
        values for JSON: without paths of this machine, and without what only this machine
        acts on. None if the fields that differ from their defaults are such options.

        Nothing is built, and no builder is asked.

        Raises:
            OptionError: A service cannot build it, as it needs what this machine alone has.
        """
        return None


@attrs.frozen
class LocalInterpreter(Interpreter):
    """
    A Python of this machine, started by its path.

    Attributes:
        executable: The path of the program.

        python_version: As in ``3.11``. None if it is unknown until it starts.

        variables: Environment variables that each of its processes sees.
    """

    __repr__ = show_fields

    channel = "inherited"

    executable: str
    python_version: str | None = None
    variables: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, hash=False)

    @classmethod
    def find(cls, version: str) -> Self | None:
        """
        Return an installed Python of *version*, as in ``3.12``: the running one if it is
        that, or the first in ``PATH`` that starts. None where there is none.
        """
        if is_within(THIS_PYTHON, version):
            return cls(sys.executable, THIS_PYTHON)
        for folder in os.get_exec_path():
            program = os.path.join(folder, f"python{version}")
            # A version manager has programs for Pythons that it does not start.
            if os.access(program, os.X_OK) and _version_of(program) == version:
                return cls(program, version)
        return None

    def command(
        self, arguments: Sequence[str], *, variables: Mapping[str, str] = {}, **_: Any
    ) -> Command:
        return Command(
            argv=(self.executable, *arguments), variables={**self.variables, **variables}
        )


def _version_of(program: str) -> str:
    """
    Return the minor version of a Python, with a ``t`` if it has no GIL; empty if it does
    not start.
    """
    import subprocess

    ask = "import sys; print('%d.%d' % sys.version_info[:2] + 't' * ('t' in sys.abiflags))"
    try:
        done = subprocess.run(
            [program, "-I", "-S", "-c", ask],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


@attrs.frozen(kw_only=True)
class CurrentEnvironment(Environment):
    """The environment that the launching Python runs in; nothing is built."""

    __repr__ = show_fields

    kind: ClassVar[str] = "current"

    @property
    def key(self) -> str:
        text = f"current\0{sys.executable}\0{sys.prefix}\0{sys.version}"
        return digest(text.encode())

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return LocalInterpreter(sys.executable, THIS_PYTHON)

    def extend(self, requirements: Iterable[str]) -> CurrentEnvironment:
        missing = [each for each in requirements if not _is_installed(each)]
        if not missing:
            return self
        names = ", ".join(repr(requirement) for requirement in missing)
        raise OptionError(
            f"Kind 'current' takes no requirements, and was asked for {names}. "
            "Install them where this Python finds them, or use kind 'virtualenv'."
        )

    def is_built(self) -> bool:
        return True


def python_problem(version: str | None) -> str:
    """Return why no worker runs on a Python of *version*, as a sentence; empty if one may."""
    numbers = re.findall(r"\d+", version or "")[:2]
    if len(numbers) < 2 or tuple(map(int, numbers)) >= OLDEST_PYTHON:
        return ""
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return f"The environment has Python {version}, and a worker needs {oldest} or newer."


def is_within(version: str, other: str) -> bool:
    """Tell whether *version* is *other* or one of its own, as ``3.11.4`` is one of ``3.11``."""
    return version == other or version.startswith(f"{other}.")


def _is_installed(requirement: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    name = requirement_name(requirement)
    try:
        found = distribution(name) if name else None
    except PackageNotFoundError:
        return False
    # Without metadata it is a leftover. Comparing versions would take a parser.
    return found is not None and any(map(found.read_text, ("METADATA", "PKG-INFO")))
