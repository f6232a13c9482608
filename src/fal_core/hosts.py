"""
Hosts: the places where functions run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, ParamSpec, Protocol, TypeVar

import attrs

from fal_core.errors import UnsupportedError
from fal_core.options import Gateway, HostOptions, Options
from fal_core.reprs import show_fields

if TYPE_CHECKING:
    from typing_extensions import Self

    from fal_core.calls import AuthMode, Call
    from fal_core.environments import Environment
    from fal_core.events import Event, Phase, Sink
    from fal_core.spawns import SpawnInfo
    from fal_core_worker.stream.frames import Frame

End = Literal["returned", "raised", "cancelled", "failed"]

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT", covariant=True)


@attrs.frozen(kw_only=True)
class Capabilities:
    """
    What a host can do. The core and the conformance suite read it.

    Attributes:
        kinds: The kinds of environment it runs. None for every kind whose
            interpreter it can start.

        python_versions: Those it can run, as in ``3.11``. None for whatever the
            environment brings.

        same_python: An environment that names no Python runs the minor of the process
            that launches. Elsewhere functions also travel as source, for any minor.

        options: The documented options that it acts on; those its own class adds
            count in any case. None for all of them.

        concurrency: How many calls it runs at once where no option says.

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
    """

    __repr__ = show_fields

    kinds: frozenset[str] | None = None
    python_versions: tuple[str, ...] | None = None
    same_python: bool = False
    options: frozenset[str] | None = None
    concurrency: int = 1
    stream: bool = True
    batch: bool = True
    cancel: bool = True
    crash: bool = True
    keep_alive: bool = False
    multiplex: bool = False
    home_calls: bool = True
    secrets: bool = False
    serve: bool = False
    detach: bool = False


class Execution(Protocol):
    """
    A call that a host has taken.

    Attributes:
        reference: Names the execution on its host; for detached work it is what
            :meth:`Host.attach` takes.
    """

    @property
    def reference(self) -> str: ...

    def send(self, frame: Frame) -> None:
        """
        Pass *frame* on to the worker: credit, or the answer to a home call.
        """

    def drain(self) -> None:
        """
        Let a service end: it takes no more requests and finishes those it has.
        """

    def cancel(self, grace: float) -> None:
        """
        End the call: interrupt it, and after *grace* seconds end its processes.

        It returns at once and may be called at any time; ``Exited`` tells the end.
        """


class Driver:
    """
    A sink whose thread drives the execution, if it is :class:`Driven`.

    A host that is given one may leave its events undelivered until it is driven.
    """

    __slots__ = ()

    def __call__(self, event: Event) -> None:
        """
        Take *event*.
        """


class Driven:
    """
    An execution that a waiting thread can drive, which saves a thread's switch.
    """

    __slots__ = ()

    def drive(self, timeout: float | None) -> None:
        """
        Deliver events on this thread until ``Exited``, or for *timeout* seconds.

        It returns early where another thread delivers them already.
        """


@attrs.frozen(kw_only=True)
class ExecutionStatus:
    """
    Detached work, as a host lists it.

    Attributes:
        phase: The last one that it has entered; ``ended`` once it has ended, whatever
            its host gives.

        started: Seconds since the epoch.

        ended: Whether it has ended.

        end: How: the function ``returned`` or ``raised``, it was ``cancelled``, or
            its host ``failed``. None while it runs, and where it is not known.

        error: The error of a host that failed, as its class and its sentence.
    """

    __repr__ = show_fields

    reference: str
    name: str
    phase: Phase | Literal["ended"]
    started: float
    ended: bool = False
    end: End | None = None
    error: str = ""

    def __attrs_post_init__(self) -> None:
        if self.ended:
            object.__setattr__(self, "phase", "ended")


@attrs.define(eq=False, slots=False)
class Host(ABC, Generic[ArgsT, ReturnT]):
    """
    A place where functions run. Its attrs fields configure the place.

    A subclass is an attrs class of its own (``eq=False, slots=False``) that
    names itself through *name* and writes :meth:`launch`. Everything else is
    made of that.

    Attributes:
        name: What ``host=`` takes, and the scheme of a URL.

        options: The options it understands. A host around a host computes it.

        capabilities: What it can do.
    """

    name: ClassVar[str]
    options: ClassVar[type[HostOptions]] = HostOptions
    capabilities: ClassVar[Capabilities] = Capabilities()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """
        Return the host that *url* names, as in ``ray://head:10001``.

        Raises:
            OptionError: The URL does not fit this host.
        """
        from fal_core.errors import OptionError

        if url not in (cls.name, f"{cls.name}://"):
            raise OptionError(
                f"Host {cls.name!r} takes no address, and was given {url!r}. "
                f"Write host={cls.name!r}."
            )
        return cls()

    @property
    def place(self) -> Host[Any, Any]:
        """
        The host that runs the calls; in a host around a host, that of the inner one.

        A function that calls another one of its own place runs it where it is.
        """
        return self

    # -- documented, written once --------------------------------------------

    @classmethod
    def parse_key(cls, key: str, value: Any) -> tuple[Any, Any]:
        """
        Return the option and the value that *key* and *value* stand for.
        """
        return key, value

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        """
        Sort *config* into options of the host, the environment and the gateway.

        Raises:
            OptionError: An option is unknown, of another kind, or of a wrong type.
        """
        from fal_core.declaring.vocabulary import parse_options

        return parse_options(dict(cls.parse_key(key, value) for key, value in config.items()))

    def run(
        self,
        func: Callable[ArgsT, ReturnT],
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        application_name: str | None = None,
        application_auth_mode: AuthMode | None = None,
    ) -> ReturnT:
        """
        Run *func* here, wait for it, and return what it returned.
        """
        from fal_core.functions import IsolatedFunction

        function = IsolatedFunction(
            self,
            func,
            options,
            app_name=application_name,
            app_auth=application_auth_mode,
        )
        return function(*args, **kwargs)

    def spawn(
        self,
        func: Callable[ArgsT, ReturnT],
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        application_name: str | None = None,
        application_auth_mode: AuthMode | None = None,
    ) -> SpawnInfo:
        """
        Start *func* here and return at once.
        """
        from fal_core.functions import IsolatedFunction

        function = IsolatedFunction(
            self,
            func,
            options,
            app_name=application_name,
            app_auth=application_auth_mode,
        )
        return function.spawn(*args, **kwargs)

    # -- what a host writes ----------------------------------------------------

    @abstractmethod
    def launch(self, call: Call, sink: Sink) -> Execution:
        """
        Start *call* and return at once; what happens to it goes to *sink*.

        It raises only for what it knows at once; anything later is the reason
        in ``Exited``. It is called from many threads.
        """

    def expect(self, environment: Environment, options: HostOptions, gateway: Gateway) -> None:
        """
        Be told that a first call is about to come, while its function is sealed.

        What takes a while to start may be started meanwhile. It returns at once, and
        raises nothing: the call tells what is wrong.

        Arguments:
            environment: The one that the call will have.

            options: Those that the call will have.

            gateway: How the function will be reached, if it is a service.
        """

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        """
        Refuse what calls would be refused for, as far as this machine knows it.

        A function is checked before anything is built or sent for it, and where
        ``fal-core explain`` tells of it. What the capabilities say is checked already.

        Arguments:
            environment: The one that the call will have.

            options: Those that the call will have.

            gateway: How the function will be reached, if it is a service.

            origin: The file of a function that names secrets, where that is known.

        Raises:
            FalCoreError: A call would be refused.
        """

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        """
        Report detached work to *sink*, from its event number *after* on.

        Raises:
            HostError: There is no such work, or this host detaches none.
        """
        raise UnsupportedError(self.name, "attach to detached work")

    def executions(self) -> Iterable[ExecutionStatus]:
        """
        List the detached work of this host.
        """
        return ()

    def close(self) -> None:
        """
        End what runs here attached, and free what the host holds.
        """
