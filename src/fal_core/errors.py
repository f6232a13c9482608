"""
Every error of fal-core, but ``machines.UnknownMachineError``, ``sinks.HandlerFailed``,
``groups.NodeFailed``, and those of ``claims`` and ``loading.targets``.

    FalCoreError
    ├── OptionError (also a ValueError)     a declaration or an argument is wrong
    │   ├── UnknownOptionError
    │   ├── WrongKindError
    │   ├── OptionTypeError
    │   ├── OptionValueError
    │   └── UnknownNameError
    ├── HostError                           the host failed, not the function
    │   ├── PluginError                     a plugin breaks its side of the contract
    │   ├── WorkerLost
    │   │   └── OutOfMemory
    │   ├── Timeout (also a TimeoutError)
    │   │   └── StartupTimeout
    │   ├── Cancelled (also a concurrent.futures.CancelledError)
    │   ├── HostClosed
    │   ├── UnsupportedError
    │   └── EnvironmentBuildError
    └── FalServerlessException              the errors of fal's documented API
        ├── FalServerlessError
        ├── InternalFalServerlessError
        ├── UserFunctionException
        └── FalSerializationError
            └── FalMissingDependencyError

What the user's function raises is not in the tree: an ``Exception`` arrives as itself, and
``SystemExit`` and the like as the cause of a ``UserFunctionException``.
The fields of a class are the arguments of its constructor, so errors pickle and
cross processes unchanged; ``str`` makes a sentence of them.
"""

from __future__ import annotations

from concurrent.futures import CancelledError

from fal_core.facts import facts


class FalCoreError(Exception):
    """The root of the tree: catch it to catch all of fal-core's own errors."""


# -- Declarations ------------------------------------------------------------


class OptionError(FalCoreError, ValueError):
    """A declaration, an option or a command line argument is wrong."""


@facts
class UnknownOptionError(OptionError):
    """
    No installed plugin knows the option.

    Attributes:
        option: The name as the user wrote it.

        suggestion: The known option whose name is nearest, if one is near.

        extra: The extra of fal-core whose plugin would know it, if any.
    """

    option: str
    suggestion: str | None = None
    extra: str | None = None

    def __str__(self) -> str:
        remedy = "Run 'fal-core hosts describe NAME' to see which options a host has."
        if self.suggestion is not None:
            remedy = f"Did you mean {self.suggestion!r}?"
        elif self.extra is not None:
            install = f"`pip install 'fal-core[{self.extra}]'`"
            remedy = f"It belongs to a plugin that is not installed: run {install}."
        return f"Unknown option {self.option!r}. {remedy}"


@facts
class WrongKindError(OptionError):
    """The option exists, but for other kinds of environment."""

    option: str
    kind: str
    kinds: tuple[str, ...]
    usable: tuple[str, ...] = ()

    def __str__(self) -> str:
        others = " or ".join(repr(kind) for kind in self.kinds)
        sentence = f"Option {self.option!r} belongs to kind {others}, not to {self.kind!r}."
        if self.usable:
            usable = ", ".join(self.usable)
            sentence += f" Options of {self.kind!r}: {usable}."
        return sentence


@facts
class OptionTypeError(OptionError):
    """
    The value of an option or an argument has the wrong type.

    Attributes:
        option: Where the value stands, as in ``requirements[2]``.

        got: The value as ``repr`` shows it, shortened, and its type.

        expected: What would have been right, in words.
    """

    option: str
    got: str
    expected: str

    def __str__(self) -> str:
        return f"Option {self.option!r} must be {self.expected}, not {self.got}."


@facts
class OptionValueError(OptionError):
    """
    The value of an option has the right type, and is out of its bounds.

    Attributes:
        got: The value as ``repr`` shows it.

        expected: The bounds in words, as in ``at least 1``.
    """

    option: str
    got: str
    expected: str

    __str__ = OptionTypeError.__str__


@facts
class UnknownNameError(OptionError):
    """No installed plugin provides a host or an environment of that name."""

    role: str
    name: str
    known: tuple[str, ...]
    hint: str = ""

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        hint = f" {self.hint}" if self.hint else ""
        return f"No {self.role} is called {self.name!r}. Installed: {known}.{hint}"


# -- Hosts -------------------------------------------------------------------


class HostError(FalCoreError):
    """The host failed, not the function."""


@facts
class PluginError(HostError):
    """
    A plugin, or something that it provides, breaks its side of the contract.

    Attributes:
        plugin: The name of what breaks it; empty where it is not known.

        problem: What is wrong and what to write instead, as sentences.

        role: What that is: ``Plugin``, or ``Host`` for one that breaks it during a call.
    """

    plugin: str
    problem: str
    role: str = "Plugin"

    def __str__(self) -> str:
        name = f" {self.plugin!r}" if self.plugin else ""
        return f"{self.role}{name}: {self.problem}"


@facts
class WorkerLost(HostError):
    """
    The process that ran the call ended before it answered.

    Attributes:
        code: Its exit code, if it exited.

        signal: The number of the signal that ended it, if one did.

        detail: What else is known, as a sentence; empty if nothing is.

        peak: The most bytes that it has used, and *memory* all there were, if that is known.

        function: The name of the function that it ran; empty if that is not known.

        place: Where in it the worker crashed, as in ``f, line 12``; empty if it did not.
    """

    code: int | None = None
    signal: int | None = None
    detail: str = ""
    peak: int | None = None
    memory: int | None = None
    function: str = ""
    place: str = ""

    def __str__(self) -> str:
        from fal_core.reprs import show_end

        return show_end(self, "")


@facts
class OutOfMemory(WorkerLost):
    """
    The worker was ended because it used more memory than it may.

    Attributes:
        fits: The smallest machine type that has more memory, if one is known.
    """

    fits: str | None = None

    def __str__(self) -> str:
        from fal_core.reprs import show_end

        return show_end(self, "was ended because it ran out of memory")


@facts
class Timeout(HostError, TimeoutError):
    """
    The call took longer than it may, and was ended.

    Attributes:
        seconds: How many it had.

        queued: Whether it still waited for a worker of *host* when they were over. *detail* is
            what is known where it was not ended.
    """

    seconds: float
    queued: bool = False
    host: str = ""
    detail: str = ""

    def __str__(self) -> str:
        from fal_core.reprs import show_timeout

        return show_timeout(self)


class StartupTimeout(Timeout):
    """A worker or a service was not ready in time, and was ended."""

    def __str__(self) -> str:
        return (
            f"The worker was not ready within its startup_timeout of {self.seconds:g} s, "
            "and was ended. Let it do less before it is ready, or give it more time."
        )


@facts
class Cancelled(HostError, CancelledError):
    """The call was cancelled."""

    detail: str = ""

    def __str__(self) -> str:
        return self.detail or "The call was cancelled."


@facts
class HostClosed(HostError):
    """The host was closed, or cannot be reached."""

    host: str
    detail: str = ""

    def __str__(self) -> str:
        return f"Host {self.host!r} cannot take calls. {self.detail or 'It was closed.'}"


@facts
class UnsupportedError(HostError):
    """The host cannot do what the call asks of it."""

    host: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"Host {self.host!r} cannot {self.what}.{remedy}"


@facts
class EnvironmentBuildError(HostError):
    """
    The environment could not be built.

    Attributes:
        kind: The kind of environment.

        reason: What the builder gave as the reason, as a sentence.

        requirement: The requirement that failed, if the builder named one.

        lines: The last lines of the builder's output.

        unsaid: The lines to show below *reason*; None shows all of *lines*.

        function: The name of the function that needs it; empty if that is not known.
    """

    kind: str
    reason: str
    requirement: str | None = None
    lines: tuple[str, ...] = ()
    unsaid: tuple[str, ...] | None = None
    function: str = ""

    def __str__(self) -> str:
        which = f" at requirement {self.requirement!r}" if self.requirement else ""
        sentence = f"The {self.kind} environment could not be built{which}: {self.reason}"
        if self.requirement and self.function:
            sentence += f" Check requirements of {self.function!r}."
        shown = self.lines if self.unsaid is None else self.unsaid
        return "\n".join((sentence, *(f"  {line}" for line in shown)))


# -- Of fal's documented API ---------------------------------------------------


class FalServerlessException(FalCoreError):
    """The documented root of errors that have to do with running a function."""


@facts
class FalServerlessError(FalServerlessException):
    """A run or a declaration failed; *message* says how."""

    message: str


@facts
class InternalFalServerlessError(FalServerlessException):
    """The service failed, not the caller; *message* says how."""

    message: str


@facts
class FalSerializationError(FalServerlessException):
    """A function, an argument, a result or an exception cannot travel."""

    message: str


@facts
class FalMissingDependencyError(FalSerializationError):
    """The function needs a module that its environment does not have."""


class UserFunctionException(FalServerlessException):
    """
    The user's function raised; what it raised is the cause.

    It is raised in place of the user's own exception with ``reraise=False``. It is always
    raised for what is no ``Exception``, such as ``SystemExit``, which would end the caller.
    """
