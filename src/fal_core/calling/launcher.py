"""
Launching: what the calls of one function have in common.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs

from fal_core.abilities import AnticipatingHost
from fal_core.calling import preconditions as needs
from fal_core.declaring import vocabulary
from fal_core.errors import FalSerializationError, UnsupportedError
from fal_core.hosts import Execution, Host
from fal_core.options import Lifetime
from fal_core.plugins import installed as plugins

# All else is imported once the host has been told that a call is about to come.
if TYPE_CHECKING:
    from fal_core.calling.waiting import Waiter
    from fal_core.calls import Call
    from fal_core.events import Event
    from fal_core.functions import IsolatedFunction
    from fal_core.sealing.functions import FunctionSeal

_numbers = itertools.count(1)
_process = os.urandom(6).hex()


def _renew_identity() -> None:
    global _process
    _process = os.urandom(6).hex()


os.register_at_fork(after_in_child=_renew_identity)


class Launcher:
    """
    One function, sealed, with its typed options, ready to be called on its host.

    Arguments:
        stubbed: The classes of functions that others capture as stubs.

        rehearsed: Only find out what sealing the function says; whether the host would
            take it is not asked, and no call comes.
    """

    def __init__(
        self,
        function: IsolatedFunction[..., Any],
        *,
        stubbed: Iterable[type] = (),
        rehearsed: bool = False,
    ) -> None:
        self.function = function
        self.host: Host[..., Any] = function.host
        self.policy = function.policy
        options = function.options
        self._options = options
        self._written = (dict(options.host), dict(options.environment), dict(options.gateway))
        self.environment = vocabulary.structure_environment(options)
        self.host_options = vocabulary.structure_host_options(options, self.host)
        self.gateway = vocabulary.structure_gateway(options)
        if not rehearsed:
            for refusal in needs.refusals(
                function, self.environment, self.host_options, self.gateway
            ):
                raise refusal
            self._warn_of_unsupported()
        if function.raw_func is None:
            raise UnsupportedError(self.host.name, "run a function without code")
        modules = function.local_python_modules or ()
        func: Callable[..., Any] = function.func
        application = False
        if self.gateway.serve:
            from fal_core.calling.serving import Server, extend_environment

            if isinstance(func, Server):
                modules = (*modules, *func.packages)
                self.environment = extend_environment(self.environment, func)
                application = isinstance(func.func, type)
        if self.policy.lifetime == "attached" and not rehearsed:
            if isinstance(self.host, AnticipatingHost):
                self.host.expect(self.environment, self.host_options, self.gateway)
        # They bring cloudpickle, which takes as long as a process takes to start.
        from fal_core.calling.home_calls import reduce_function, sealing, stub_types
        from fal_core.calling.waiting import Waiter
        from fal_core.calls import Call
        from fal_core.events import Sealed
        from fal_core.sealing.arguments import seal_arguments
        from fal_core.sealing.functions import seal_function, stub_reducers
        from fal_core.sealing.opener import Opener
        from fal_core.sealing.sources import file_of

        self._make_waiter = Waiter
        stub_types.update(dict.fromkeys(stubbed, reduce_function))
        stub_reducers.update(stub_types)
        portable = self._may_be_other_python()
        setup = self.host_options.setup_function
        with sealing(function):
            self.seal: FunctionSeal = seal_function(
                func, local_python_modules=modules, portable=portable
            )
            self.setup_seal = None
            if setup is not None:
                self.setup_seal = seal_function(
                    setup, local_python_modules=modules, portable=portable
                )
        for seal in filter(None, (self.seal, self.setup_seal)):
            self._check_other_python(seal)
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
            application=application,
            origin=file_of(function.raw_func),
        )
        self._seal_arguments = seal_arguments
        self.opener = Opener(name=self.seal.name, reraise=function.reraise)
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
            and self.opener.reraise is self.function.reraise
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
                # Its keeper goes on when this process, and its timers, are gone.
                timeout=self.policy.timeout if lifetime == "detached" else None,
                retries=self.policy.retries if lifetime == "detached" else 0,
                traceparent=_traceparent(),
            )
        return call

    def renew(self, call: Call) -> Call:
        """
        Return *call* under another id, to be launched again.
        """
        return call.again(f"{_process}-{next(_numbers)}", call.arguments)

    def waiter(self) -> Waiter:
        """
        Return the sink of a call that this thread waits for.
        """
        return self._make_waiter(self)

    def launch(self, call: Call, sink: Callable[[Event], None]) -> Execution:
        """
        Launch *call*, and tell the plugins that observe.
        """
        if self._observed:
            from fal_core.sinks.observers import observed

            sink = observed(call, self.host, sink)
        return self.host.launch(call, sink)

    def _may_be_other_python(self) -> bool:
        version = getattr(self.environment, "python_version", None)
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if version is not None:
            return not version.startswith(here)
        return not self.host.capabilities.same_python

    def _check_other_python(self, seal: FunctionSeal) -> None:
        """
        Refuse what the Python of the environment could not open, before it is built.
        """
        version = getattr(self.environment, "python_version", None) or ""
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        sealed = seal.sealed
        # A version without its minor may turn out to be that of this Python.
        if "." not in version or not sealed.refusal or not sealed.native.contains_code:
            return
        raise FalSerializationError(
            f"Function {seal.name!r} cannot travel to Python {version} from {here}: "
            f"{sealed.refusal} Write it in a file whose source can be read, or leave "
            "python_version out."
        )

    def _warn_of_unsupported(self) -> None:
        if self.policy.on_unsupported == "ignore":
            return
        names = vocabulary.unusable_options(self._options, self.host)
        if not names:
            return
        names = _untold(self.function.raw_func, self.host.name, names)
        if not names:
            return
        from fal_core.events import Log
        from fal_core.sinks.printing import print_log

        print_log(
            Log(
                f"Host {self.host.name!r} does not use option {_listed(names)} "
                f"of {getattr(self.function.raw_func, '__name__', 'function')!r}; kept for "
                "hosts that do.",
                "WARNING",
                "BRIDGE",
            )
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


# For each function the hosts and the options that this process has told of.
_told: WeakKeyDictionary[Any, set[tuple[str, str]]] = WeakKeyDictionary()


def _untold(function: Any, host: str, names: Iterable[str]) -> tuple[str, ...]:
    """
    Return those of the options *names* that were not told before, and keep them as told.
    """
    try:
        told = _told.setdefault(function, set())
    except TypeError:
        # A callable that has no hash, or that nothing may refer to weakly.
        told = _told.setdefault(type(function), set())
    untold = tuple(name for name in names if (host, name) not in told)
    told.update((host, name) for name in untold)
    return untold


def _traceparent() -> str | None:
    """
    Return the W3C trace context of the caller, where OpenTelemetry is in use.
    """
    if "opentelemetry.trace" not in sys.modules:
        return None
    from fal_core.sinks.observers import current_traceparent

    return current_traceparent()
