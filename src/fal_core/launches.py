"""
Launching: what the calls of one function have in common, and waiting for one.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from fal_core import plugins, vocabulary
from fal_core.calls import Call, Lifetime
from fal_core.errors import Timeout, UnsupportedError
from fal_core.events import Event, Exited, HomeCall, Log, Outcome
from fal_core.hosts import Driven, Driver, Execution, Host
from fal_core.nesting import answer, sealing, stub_types
from fal_core.outcomes import open_outcome
from fal_core_worker.seals import Sealed

if TYPE_CHECKING:
    from fal_core.functions import IsolatedFunction
    from fal_core.sealing import FunctionSeal

_numbers = itertools.count(1)
_process = os.urandom(6).hex()


def _renew_identity() -> None:
    global _process
    _process = os.urandom(6).hex()


os.register_at_fork(after_in_child=_renew_identity)


class Launcher:
    """
    One function, sealed, with its typed options, ready to be called on its host.
    """

    def __init__(self, function: IsolatedFunction[..., Any]) -> None:
        from fal_core.sealing import open_value, seal_arguments, seal_function, stub_reducers

        stub_reducers.update(stub_types)
        self.function = function
        self.host: Host[..., Any] = function.host
        self.policy = function.policy
        options = function.options
        self._options = options
        self._written = (dict(options.host), dict(options.environment), dict(options.gateway))
        self.environment = vocabulary.structure_environment(options)
        self.host_options = vocabulary.structure_host_options(options, self.host)
        self.gateway = vocabulary.structure_gateway(options)
        kinds = self.host.capabilities.kinds
        if kinds is not None and self.environment.kind not in kinds:
            raise UnsupportedError(
                self.host.name,
                f"run kind {self.environment.kind!r}",
                f"It runs {', '.join(sorted(kinds))}.",
            )
        self._check_unsupported()
        if function.raw_func is None:
            raise UnsupportedError(self.host.name, "run a function without code")
        modules = function.local_python_modules or ()
        portable = self._may_be_other_python()
        setup = self.host_options.setup_function
        with sealing(function):
            self.seal: FunctionSeal = seal_function(
                function.func, local_python_modules=modules, portable=portable
            )
            self.setup_seal = None
            if setup is not None:
                self.setup_seal = seal_function(
                    setup, local_python_modules=modules, portable=portable
                )
        self._usual = Call(
            id="",
            name=getattr(function.raw_func, "__name__", "function"),
            function=self.seal.sealed,
            arguments=Sealed(b""),
            environment=self.environment,
            host_options=self.host_options,
            gateway=self.gateway,
            setup=None if self.setup_seal is None else self.setup_seal.sealed,
            sources=self.seal.sources,
            application_name=function.app_name,
            application_auth_mode=function.app_auth,
        )
        self._seal_arguments = seal_arguments
        self.open_value = open_value
        self._cached = self.policy.seal == "once"
        self._observed = plugins.load_plugins().has_observers

    def is_current(self) -> bool:
        """
        Tell whether nothing that the launcher was made of has changed.
        """
        options = self.function.options
        return (
            self._cached
            and self._options is options
            and self.host is self.function.host
            and self._written == (options.host, options.environment, options.gateway)
            and self.seal.is_fresh()
        )

    def call(
        self,
        arguments: Any,
        *,
        batch: int = 0,
        stream: bool = False,
        lifetime: Lifetime = "attached",
    ) -> Call:
        """
        Seal *arguments* and return the envelope of a call.
        """
        identity = f"{_process}-{next(_numbers)}"
        sealed = self._seal_arguments(arguments, self.seal)
        call = self._usual.again(identity, sealed)
        if batch or stream or lifetime != "attached" or "opentelemetry.trace" in sys.modules:
            return attrs.evolve(
                call,
                batch=batch,
                stream=stream,
                lifetime=lifetime,
                traceparent=_traceparent(),
            )
        return call

    def waiter(self) -> Waiter:
        """
        Return the sink of a call that this thread waits for.
        """
        return Waiter(self)

    def launch(self, call: Call, sink: Callable[[Event], None]) -> Execution:
        """
        Launch *call*, and tell the plugins that observe.
        """
        if self._observed:
            from fal_core.observers import observed

            sink = observed(call, self.host, sink)
        return self.host.launch(call, sink)

    def _may_be_other_python(self) -> bool:
        version = getattr(self.environment, "python_version", None)
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if version is not None:
            return not version.startswith(here)
        return self.host.name not in ("local", "in-process")

    def _check_unsupported(self) -> None:
        if self.policy.on_unsupported == "ignore":
            return
        names = vocabulary.unusable_options(self._options, self.host)
        if not names:
            return
        listed = ", ".join(repr(name) for name in names)
        if self.policy.on_unsupported == "error":
            raise UnsupportedError(self.host.name, f"use option {listed}")
        print_log(
            Log(
                f"Host {self.host.name!r} does not use option {listed} "
                f"of {getattr(self.function.raw_func, '__name__', 'function')!r}; kept for "
                "hosts that do.",
                "WARNING",
                "BRIDGE",
            )
        )


class Waiter(Driver):
    """
    The sink of a call that a thread waits for.
    """

    __slots__ = ("_event", "execution", "exited", "launcher", "outcome")

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.outcome: Outcome | None = None
        self.exited: Exited | None = None
        self.execution: Execution | None = None
        self._event: threading.Event | None = None

    def __call__(self, event: Event) -> None:
        kind = type(event)
        if kind is Outcome:
            self.outcome = event  # type: ignore[assignment]
        elif kind is Exited:
            self.exited = event  # type: ignore[assignment]
            if self._event is not None:
                self._event.set()
        elif kind is Log:
            print_log(event)  # type: ignore[arg-type]
        elif kind is HomeCall:
            answer_home_call(self, event)  # type: ignore[arg-type]

    def wait(self, execution: Execution) -> None:
        """
        Wait for the end, and end the call if it takes too long or is interrupted.
        """
        policy = self.launcher.policy
        self.execution = execution
        try:
            self._drive(execution, policy.timeout)
        except BaseException:
            # The caller was interrupted: nothing is left running behind.
            execution.cancel(policy.grace)
            self._drive(execution, policy.grace + 5)
            raise
        if self.exited is None:
            assert policy.timeout is not None
            execution.cancel(policy.grace)
            self._drive(execution, policy.grace + 5)
            raise Timeout(policy.timeout)
        # Without a cycle the outcome, and memory it shares, goes with the last view.
        self.execution = None

    def result(self) -> Any:
        """
        Return what the function returned, or raise what it raised.
        """
        outcome = self.outcome
        # The execution refers to its sink: nothing large waits for the collector.
        self.outcome = self.execution = None
        return open_outcome(self.launcher, outcome, self.exited)

    def _drive(self, execution: Execution, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        if isinstance(execution, Driven):
            execution.drive(timeout)
            if self.exited is not None:
                return
        # Another thread delivers the events, or the time is up.
        self._event = threading.Event()
        if self.exited is None:
            self._event.wait(None if until is None else max(0.0, until - time.monotonic()))


def answer_home_call(sink: Any, event: HomeCall) -> None:
    """
    Run what the function calls at home, on a thread, and send the answer back.
    """
    launcher = sink.launcher
    threading.Thread(
        target=answer, args=(launcher, event, sink), name="fal-core home call", daemon=True
    ).start()


def print_log(log: Log) -> None:
    """
    Print a line where the caller prints.
    """
    plain = log.level == "STDOUT" or (log.source == "USER" and log.level in ("DEBUG", "INFO"))
    stream = sys.stdout if plain else sys.stderr
    if stream is not None:
        try:
            stream.write(f"{log.message}\n")
            stream.flush() if stream is sys.stderr else None
        except UnicodeEncodeError:
            text = log.message.encode("ascii", "backslashreplace").decode()
            stream.write(f"{text}\n")


def _traceparent() -> str | None:
    """
    Return the W3C trace context of the caller, where OpenTelemetry is in use.
    """
    if "opentelemetry.trace" not in sys.modules:
        return None
    from fal_core.observers import current_traceparent

    return current_traceparent()
