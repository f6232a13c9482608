"""Hosts: the places where functions run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
)

import attrs

from fal_core.environments import is_within
from fal_core.errors import OptionError
from fal_core.options import Gateway, HostOptions, Options
from fal_core.reprs import show_fields
from fal_core.validators import at_least, check_claims

if TYPE_CHECKING:
    from typing_extensions import Self

    from fal_core.calls import AuthMode, Call
    from fal_core.environments import Environment
    from fal_core.events import Message, Sink
    from fal_core.spawns import SpawnInfo

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT", covariant=True)
AbilityT = TypeVar("AbilityT")


@attrs.frozen(kw_only=True, field_transformer=check_claims)
class Capabilities:
    """
    What a host can do. The core and the conformance suite read it.

    Nothing is claimed that is not written: ``Capabilities()`` runs no kind of environment.

    Attributes:
        kinds: The kinds of environment it runs. None for every kind whose
            interpreter it can start.

        python_versions: Those it can run, as in ``3.11``. None for any that the
            environment brings.

        same_python: An environment that names no Python runs the caller's minor version.
            If false, functions also travel as source, for any minor.

        options: The documented options that it acts on; options that its own class
            adds are always included. None for all of them.

        concurrency: How many calls it runs at once where no option says.

        nodes: The most nodes that one call may run on. The core refuses a call of more.

        stream: Items of a generator arrive while it runs.

        batch: One call may carry many items.

        cancel: A running call can be ended.

        crash: The end of a worker is noticed, and its children are ended.

        keep_alive: Workers are kept between calls.

        multiplex: One worker can run several calls at once.

        home_calls: A function can call back to the process that launched it.

        secrets: It resolves secrets.

        serve: It runs functions that are reached from outside, and tells where.

        detach: Work can outlive the process that launched it.

        inherits: Its workers have the environment variables and the working directory of
            the process that launched them, as these were when they started.

        own_machines: It has machine types that plugins here need not know, as a service
            has that adds some: where one is unknown, a warning says so. Elsewhere that is
            an error.
    """

    __repr__ = show_fields

    kinds: frozenset[str] | None = frozenset()
    python_versions: tuple[str, ...] | None = None
    same_python: bool = False
    options: frozenset[str] | None = frozenset()
    concurrency: int = attrs.field(default=1, validator=at_least(1))
    nodes: int = attrs.field(default=1, validator=at_least(1))
    stream: bool = False
    batch: bool = False
    cancel: bool = False
    crash: bool = False
    keep_alive: bool = False
    multiplex: bool = False
    home_calls: bool = False
    secrets: bool = False
    serve: bool = False
    detach: bool = False
    inherits: bool = False
    own_machines: bool = False

    if TYPE_CHECKING:
        # For type checkers it is the constructor, whose keywords it takes.
        of_workers: ClassVar[type[Capabilities]]
    else:

        @classmethod
        def of_workers(cls, **claims: Any) -> Self:
            """
            Return what a :class:`~fal_core.workers.Worker` keeps by itself, and *claims*.

            That is: *stream*, *batch*, *cancel*, *crash*, *home_calls* and the option
            ``setup_function``, to which those in *claims* are added. The host says which
            kinds it runs.
            """
            own = ("stream", "batch", "cancel", "crash", "home_calls")
            made = cls(**dict.fromkeys(own, True) | claims)
            if made.options is None:
                return made
            return attrs.evolve(made, options=made.options | {"setup_function"})

    @classmethod
    def both(cls, one: Capabilities, other: Capabilities) -> Self:
        """
        Return what a host may claim that runs each call on either of two hosts.

        Of each field that is the lesser: what both can.
        """
        return cls(
            **{
                field.name: _lesser(getattr(one, field.name), getattr(other, field.name))
                for field in attrs.fields(cls)
            }
        )


def _lesser(one: Any, other: Any) -> Any:
    """Return what is within both of two claims. None stands for everything."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, tuple):
        kept = [each for each in one if any(is_within(each, version) for version in other)]
        kept += [each for each in other if any(is_within(each, version) for version in one)]
        return tuple(dict.fromkeys(kept))
    if isinstance(one, frozenset):
        return one & other
    # Of flags the lesser is that both are set.
    return min(one, other)


class Execution(Protocol):
    """
    A call that a host has taken.

    Attributes:
        reference: Names the execution on its host; for detached work it is what
            :meth:`fal_core.abilities.DetachingHost.attach` takes.
    """

    @property
    def reference(self) -> str: ...

    def send(self, message: Message) -> None:
        """Pass *message* on to the worker: credit, or the reply to a home call."""

    def drain(self) -> None:
        """Let a service end: it takes no more requests and finishes those it has."""

    def cancel(self, grace: float) -> None:
        """
        End the call: interrupt it, and after *grace* seconds end its processes.

        It returns at once and may be called at any time; ``Exited`` tells the end.
        """


@attrs.define(eq=False, slots=False)
class Host(ABC, Generic[ArgsT, ReturnT]):
    """
    A place where functions run. Its attrs fields configure the place.

    A subclass is an attrs class (``eq=False, slots=False``) that sets *name* and writes
    :meth:`launch`. Calls, futures, maps and streams are built on that one method.

    Attributes:
        name: What ``host=`` takes, and the scheme of a URL.

        options: The class of the options it understands.

        capabilities: What it can do.
    """

    name: ClassVar[str]
    options: ClassVar[type[HostOptions]] = HostOptions
    capabilities: ClassVar[Capabilities] = Capabilities()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """
        Return the host that *url* names, as in ``ray://head:10001``.

        A name without ``://`` is no URL: it stands for ``cls()``.

        Raises:
            OptionError: The URL does not fit this host.
        """
        if url != f"{cls.name}://":
            raise OptionError(
                f"Host {cls.name!r} takes no address, and was given {url!r}. "
                f"Write host={cls.name!r}."
            )
        return cls()

    @property
    def place(self) -> Host[Any, Any]:
        """
        Nested calls of functions whose hosts have equal places stay in one worker.

        A host around a host may return the place of the inner one.
        """
        return self

    def ability(self, kind: type[AbilityT]) -> AbilityT | None:
        """
        Return what this host does beside running calls, as a *kind* of
        :mod:`fal_core.abilities`. None if it does not.

        By default a host has those abilities whose classes it derives from.
        """
        return self if isinstance(self, kind) else None

    # -- fal's documented API, written once --------------------------------------------

    @classmethod
    def parse_key(cls, key: str, value: Any) -> tuple[Any, Any]:
        """Return the option and the value that the keyword *key* stands for."""
        return key, value

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        """
        Sort *config* into options of the host, the environment and the gateway.

        Raises:
            OptionError: An option is unknown, of another kind, or of a wrong type.
        """
        from fal_core.front import parse_options

        return parse_options(cls, config)

    def run(
        self,
        func: Callable[ArgsT, ReturnT],
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        application_name: str | None = None,
        application_auth_mode: AuthMode | None = None,
    ) -> ReturnT:
        """Run *func* here, wait for it, and return what it returned."""
        from fal_core.front import isolate

        function = isolate(self, func, options, application_name, application_auth_mode)
        return function(*args, **kwargs)

    def spawn(
        self,
        func: Callable[ArgsT, ReturnT],
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        application_name: str | None = None,
        application_auth_mode: AuthMode | None = None,
    ) -> SpawnInfo[ReturnT]:
        """Start *func* here and return at once."""
        from fal_core.front import isolate

        function = isolate(self, func, options, application_name, application_auth_mode)
        return function.spawn(*args, **kwargs)

    # -- what a host writes ----------------------------------------------------

    @abstractmethod
    def launch(self, call: Call, sink: Sink) -> Execution:
        """
        Start *call* and return at once; its events go to *sink*.

        It raises only what it knows at once; anything later is the reason in ``Exited``.
        Many threads may call it at the same time.
        """

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        """
        Raise the error that a call with these options would end with, if any.

        It runs before anything is built or sent, and for ``fal-core explain``. What the
        capabilities rule out has been refused before.

        Arguments:
            environment: The one that the call will have.

            options: Those that the call will have.

            gateway: How the function will be reached, if it is a service.

            origin: The file of the function; given only if it names secrets.

        Raises:
            FalCoreError: A call would be refused.
        """

    def close(self) -> None:
        """End the attached work of this host and free its resources."""
