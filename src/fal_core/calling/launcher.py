"""Launching: what all calls of one function have in common."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from fal_core.calling.preconditions import (
    announce,
    for_machine,
    refusals,
    warn_of_unsupported,
)
from fal_core.declaring import vocabulary
from fal_core.declaring.declaration import Declaration
from fal_core.environments import THIS_PYTHON, Environment
from fal_core.errors import FalSerializationError, UnsupportedError
from fal_core.hosts import Host
from fal_core.options import Gateway, HostOptions, Lifetime, Options
from fal_core.plugins import installed as plugins

# The rest is imported once the host knows that a call is about to come.
if TYPE_CHECKING:
    from fal_core.calling.attempts import Launch
    from fal_core.calling.waiting import Waiter
    from fal_core.calls import Call
    from fal_core.events import HomeCall
    from fal_core.policies import Policy
    from fal_core.sealing.functions import FunctionSeal
    from fal_core.sinks.call_sinks import OpeningSink

#: Seconds between two looks at whether a call is still wanted.
_TICK = 0.1

_numbers = itertools.count(1)
_process = os.urandom(6).hex()


def _renew_identity() -> None:
    global _process
    _process = os.urandom(6).hex()


os.register_at_fork(after_in_child=_renew_identity)


class Changeable(Protocol):
    """An isolated function, as far as it may change between two calls."""

    @property
    def host(self) -> Host[Any, Any]: ...

    @property
    def options(self) -> Options: ...

    @property
    def reraise(self) -> bool: ...


class Launcher:
    """
    One function, sealed, with its typed options, ready to be called on its host.

    Arguments:
        rehearsed: Only find out whether the function can be sealed. The host is not
            asked whether it would take it, and expects no call.

    Attributes:
        launch: Launches a call, within the deadline and the attempts of the policy.

        launch_once: Launches a call with neither, and without waiting for its host; its
            ``request_timeout`` holds.

        launch_detached: Launches detached work, all of whose limits the host keeps.

        request_timeout: Seconds that the function may run in one call. None for no limit,
            and for a service, which has requests of its own.

        make_waiter: Returns the sink of a call that the calling thread waits for.

        opener: Opens what the function returned, yielded or raised.

        answer: Answers a home call of the function, on a thread of its own.
    """

    def __init__(self, declaration: Declaration, *, rehearsed: bool = False) -> None:
        self.declaration = declaration
        self.host: Host[..., Any] = declaration.host
        self.policy: Policy = declaration.policy
        options = self._options = declaration.options
        self._written = (dict(options.host), dict(options.environment), dict(options.gateway))
        self.environment: Environment = vocabulary.structure_environment(options)
        self.host_options: HostOptions = vocabulary.structure_host_options(options, self.host)
        self.environment = for_machine(self.environment, self.host_options)
        self.gateway: Gateway = vocabulary.structure_gateway(options)
        if not rehearsed:
            for refusal in refusals(
                declaration, self.environment, self.host_options, self.gateway
            ):
                raise refusal
            warn_of_unsupported(declaration, self.host_options, self.environment)
        if declaration.raw_func is None:
            raise UnsupportedError(self.host.name, "run a function without code")
        func: Callable[..., Any] = declaration.raw_func
        modules = declaration.local_python_modules or ()
        application = takes_socket = False
        if self.gateway.serve:
            from fal_core.calling.serving import Server, extend_environment, make_server

            func = make_server(declaration)
            if isinstance(func, Server):
                modules = (*modules, *func.packages)
                self.environment = extend_environment(self.environment, func)
                application = isinstance(func.func, type)
                takes_socket = func.takes_socket
        attached = self.policy.lifetime == "attached" and not rehearsed
        if attached:
            announce(
                self.host,
                self.environment,
                self.host_options,
                self.gateway,
                declaration.raw_func,
            )
        # These import cloudpickle, which takes as long as a process takes to start.
        from fal_core.calls import Call
        from fal_core.events import Sealed
        from fal_core.sealing.sources import file_of

        self._seal(func, modules)
        self._template = Call(
            id="",
            name=declaration.name,
            function=self.seal.sealed,
            arguments=Sealed(b""),
            environment=self.environment,
            host_options=self.host_options,
            gateway=self.gateway,
            setup=None if self.setup_seal is None else self.setup_seal.sealed,
            sources=self._sources,
            application_name=declaration.app_name,
            application_auth_mode=declaration.app_auth,
            application=application,
            takes_socket=takes_socket,
            origin=file_of(declaration.raw_func),
        )
        self._is_cached = self.policy.seal == "once"
        self._prepare_launches()

    def is_current(self, function: Changeable) -> bool:
        """
        Tell whether nothing that the launcher was made of has changed in *function*.

        It runs before each call.
        """
        options = self._options
        return (
            self._is_cached
            and function.options is options
            and function.host is self.host
            and function.reraise is self.declaration.reraise
            and self._written == (options.host, options.environment, options.gateway)
            and self._captures_are_unchanged()
            and (self._edits is None or monotonic() < self._edits.until or self._has_no_edits())
        )

    def _has_no_edits(self) -> bool:
        """Look for edits of local modules, and warn of those that this process has not loaded."""
        if self._edits is None:
            return True
        has_none = self._edits.are_none()
        self._warn_of_outdated()
        return has_none

    def _warn_of_outdated(self) -> None:
        if self._edits is None or not self._edits.outdated:
            return
        from fal_core.events import Log
        from fal_core.sinks.printing import print_log

        sentences, self._edits.outdated = self._edits.outdated, []
        for sentence in sentences:
            print_log(Log(sentence, "WARNING", "BRIDGE"))

    def call(
        self,
        arguments: Any,
        *,
        batch: int = 0,
        stream: bool = False,
        lifetime: Lifetime = "attached",
    ) -> Call:
        """Seal *arguments* and return the envelope of a call."""
        plain = self._seal_plain(arguments)
        if plain is not None:
            sealed = self._make_sealed(*plain)
        else:
            # Most arguments are plain, and a first call is waited for.
            from fal_core.sealing.arguments import seal_objects

            sealed = seal_objects(arguments, self.seal, apart=batch > 0)
        call = self._template.again(f"{_process}-{next(_numbers)}", sealed)
        if batch or stream or lifetime != "attached" or "opentelemetry.trace" in sys.modules:
            return attrs.evolve(
                call,
                batch=batch,
                stream=stream,
                lifetime=lifetime,
                # The host goes on when this process, and its timers, are gone.
                timeout=self.policy.timeout if lifetime == "detached" else None,
                retries=self.policy.retries if lifetime == "detached" else 0,
                traceparent=_traceparent(),
            )
        return call

    def run_until(self, arguments: Any, is_over: Callable[[], bool]) -> Any:
        """Make a call and return its result; end it once *is_over* says so."""
        from fal_core.sinks.requests import request

        waiter = self.make_waiter()
        execution = self.launch(self.call(arguments), waiter)
        waiter.follow(execution)
        while not waiter.wait_until(execution, _TICK):
            if is_over():
                request(self.opener.host, execution.cancel, self.policy.grace)
                waiter.wait_until(execution, self.policy.grace + _TICK)
        return waiter.result()

    # -- made once -----------------------------------------------------------------

    def _seal(self, func: Callable[..., Any], modules: Iterable[str]) -> None:
        from fal_core.sealing.functions import seal_function
        from fal_core.sealing.stubs import sealing

        portable = self._may_be_other_python()
        setup = self.host_options.setup_function
        self.setup_seal: FunctionSeal | None = None
        with sealing(self.declaration):
            self.seal: FunctionSeal = seal_function(
                func, local_python_modules=modules, portable=portable
            )
            if setup is not None:
                self.setup_seal = seal_function(
                    setup, local_python_modules=modules, portable=portable
                )
        self._edits, self._sources = self.seal.edits, self.seal.sources
        if self.setup_seal is not None:
            from fal_core.sealing.edits import join

            self._edits = join(self._edits, self.setup_seal.edits)
            both = (*self._sources, *self.setup_seal.sources)
            self._sources = tuple({each.digest: each for each in both}.values())
        self._warn_of_outdated()
        for seal in filter(None, (self.seal, self.setup_seal)):
            self._check_other_python(seal)

    def _prepare_launches(self) -> None:
        """Look up once what each call needs."""
        from fal_core.calling.launches import find_launch
        from fal_core.calling.waiting import Waiter
        from fal_core.events import Sealed
        from fal_core.sealing.opener import Opener
        from fal_core_worker.opening.seals import seal_plain

        self._seal_plain: Callable[[Any], tuple[bytes, Sequence[Any]] | None]
        self._seal_plain = self._seal_nothing if self.gateway.serve else seal_plain
        self._make_sealed = Sealed
        self._captures_are_unchanged = self.seal.captures.are_unchanged
        # A wrapper that is used by no name may have none.
        host = getattr(self.host, "name", type(self.host).__name__)
        self.opener: Opener = Opener(
            name=self.seal.name, reraise=self.declaration.reraise, host=host
        )
        policy = self.policy
        answer = partial(_answer, self.seal, self.host)
        self.answer: Callable[[HomeCall, OpeningSink], None] = answer
        self.make_waiter: Callable[[], Waiter]
        drains = self.gateway.serve
        self.make_waiter = partial(Waiter, self.opener, self.answer, policy.grace, drains)
        self.request_timeout: float | None = None
        if not self.declaration.is_service:
            self.request_timeout = self.host_options.request_timeout
        waited, unwaited = find_launch(self.host, self.opener.host)
        self.launch_detached: Launch = self._observed(waited)
        launch = self._within_request_timeout(self.launch_detached)
        self.launch_once: Launch = (
            launch
            if unwaited is waited
            else self._within_request_timeout(self._observed(unwaited))
        )
        if policy.retries:
            from fal_core.calling.attempts import with_attempts

            launch = with_attempts(
                launch,
                policy.retries,
                retry_on=policy.retry_on,
                renew=renew,
                open_error=Opener(name=self.seal.name).open_error,
            )
        if policy.timeout is not None:
            from fal_core.calling.deadlines import with_deadline

            launch = with_deadline(launch, policy.timeout, grace=policy.grace)
        self.launch: Launch = launch

    def _observed(self, launch: Launch) -> Launch:
        """Return *launch* with what observes calls, and with their records."""
        if plugins.load_plugins().has_observers:
            from fal_core.sinks.observers import launch_observed

            launch = partial(launch_observed, launch, self.host)
        if self.host_options.logging is not None:
            from fal_core.sinks.log_records import launch_with_records

            launch = partial(launch_with_records, launch)
        return launch

    def _within_request_timeout(self, launch: Launch) -> Launch:
        if self.request_timeout is None:
            return launch
        from fal_core.calling.deadlines import with_deadline

        return with_deadline(
            launch, self.request_timeout, grace=self.policy.grace, from_start=True
        )

    def _seal_nothing(self, arguments: Any) -> tuple[bytes, Sequence[Any]] | None:
        from fal_core.calling.serving import check_arguments
        from fal_core_worker.opening.seals import seal_plain

        check_arguments(self.declaration.name, arguments)
        return seal_plain(arguments)

    def _may_be_other_python(self) -> bool:
        version = getattr(self.environment, "python_version", None)
        if version is not None:
            return not version.startswith(THIS_PYTHON)
        return self.environment.brings_python or not self.host.capabilities.same_python

    def _check_other_python(self, seal: FunctionSeal) -> None:
        """Refuse a function that the Python of the environment could not open."""
        version = getattr(self.environment, "python_version", None) or ""
        sealed = seal.sealed
        # A version without its minor may turn out to be that of this Python.
        if "." not in version or not sealed.refusal or not sealed.native.contains_code:
            return
        raise FalSerializationError(
            f"Function {seal.name!r} cannot travel to Python {version} from {THIS_PYTHON}: "
            f"{sealed.refusal} Write it in a file whose source can be read, or leave "
            "python_version out."
        )


def renew(call: Call) -> Call:
    """Return *call* under another id, to be launched again."""
    return call.again(f"{_process}-{next(_numbers)}", call.arguments)


def _answer(seal: FunctionSeal, on: Host[..., Any], call: HomeCall, sink: OpeningSink) -> None:
    from fal_core.calling.home_calls import answer_home_call

    answer_home_call(call, sink, seal, on)


def _traceparent() -> str | None:
    """Return the W3C trace context of the caller if OpenTelemetry is in use."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from fal_core.sinks.observers import current_traceparent

    return current_traceparent()
