"""Isolated functions: what the decorator makes of a function."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import attrs

from fal_core.errors import FalServerlessError
from fal_core.hosts import Host
from fal_core.options import OnUnsupported, Options
from fal_core.policies import Policy
from fal_core.tracebacks.trimming import begins_at_caller, trim, trim_to_user

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from typing_extensions import Self, Unpack

    from fal_core.aio import AsyncCalls
    from fal_core.batching.futures import Submitter
    from fal_core.calling.launcher import Launcher
    from fal_core.calling.local_runs import LocalRuns
    from fal_core.calling.methods import BoundFunction
    from fal_core.calls import AuthMode
    from fal_core.declaring.declaration import Declaration, Flavour
    from fal_core.keywords import AnyKeywords, PolicyKeywords
    from fal_core.spawns import SpawnInfo

#: Attributes that another process makes anew.
_OF_PROCESS = ("_home_number", "_launcher", "_local_runs", "_lock", "_shapes", "_submitter")

ArgsT = ParamSpec("ArgsT")
RestT = ParamSpec("RestT")
ReturnT = TypeVar("ReturnT", covariant=True)
T = TypeVar("T")


@attrs.define(eq=False, slots=False)
class IsolatedFunction(Generic[ArgsT, ReturnT]):
    """
    A function that runs on a host, in an environment of its own.

    Calling it runs it there and waits. Its options are never changed by a call;
    :meth:`on` gives another function with other options.

    Attributes:
        raw_func: The function as it was written.

        reraise: Raise what the function raised, not a ``UserFunctionException`` around it.

        app_name: What a host calls the application.

        app_auth: Who may reach the application.

        local_python_modules: Modules that travel with the function as source.

        policy: Timeouts, retries and the like, which the core keeps.
    """

    host: Host[ArgsT, ReturnT]
    raw_func: Callable[ArgsT, ReturnT] | None
    options: Options
    # The documented default is an executor; it is made when it is first asked for.
    _executor: ThreadPoolExecutor | None = attrs.field(default=None, alias="executor")
    reraise: bool = True
    app_name: str | None = None
    app_auth: AuthMode | None = None
    local_python_modules: tuple[str, ...] | None = attrs.field(default=None, kw_only=True)
    policy: Policy = attrs.field(factory=Policy, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self._executor_given = self._executor is not None
        self._launcher: Launcher | None = None
        self._submitter: Submitter | None = None
        self._local_runs: LocalRuns | None = None
        self._shapes: set[tuple[Any, ...]] = set()  # counts of arguments and names that fit
        self._lock = threading.Lock()

    @property
    def func(self) -> Callable[ArgsT, ReturnT]:
        """The function that a call runs: a server of it, if the options say so."""
        if self.raw_func is None:
            raise FalServerlessError("This isolated function has no code of its own.")
        if self.options.gateway.get("serve"):
            from fal_core.calling.serving import make_server

            return make_server(self.declaration)
        return self.raw_func

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads that submitted calls wait on, if the caller gave any."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor()
        return self._executor

    @executor.setter
    def executor(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._executor_given = True
        self._submitter = None

    @property
    def declaration(self) -> Declaration:
        """What calls are made from, as it is now."""
        from fal_core.declaring.declaration import Declaration

        return Declaration.of(self)

    @functools.cached_property
    def flavour(self) -> Flavour:
        """What calling the function gives."""
        return self.declaration.flavour

    @property
    def aio(self) -> AsyncCalls[ArgsT, ReturnT]:
        """The same calls for code that runs in an event loop."""
        from fal_core.aio import AsyncCalls

        return AsyncCalls(self)

    def __call__(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        """
        Run the function on its host and wait for what it returns.

        A generator function gives an iterator of what it yields.

        Raises:
            Exception: What the function raised, its traceback there as cause.

            HostError: The host failed.

            OptionError: A coroutine calls an ``async def`` function without ``aio``.
        """
        __tracebackhide__ = True
        try:
            if (len(args), *kwargs) not in self._shapes:
                self.check_arguments(args, kwargs)
            launcher = self._launcher
            if not (launcher and launcher.is_current(self)):
                launcher = self.make_launcher()
            flavour = self.flavour
            if flavour == "coroutine":
                from fal_core.refusing.ways import refuse_coroutine

                refuse_coroutine(self)
            elif flavour != "function":
                from fal_core.calling.streaming import Stream

                return Stream(launcher, args, kwargs)  # type: ignore[return-value]  # its items
            waiter = launcher.make_waiter()
            waiter.wait(launcher.launch(launcher.call((args, kwargs)), waiter))
            return waiter.result()  # type: ignore[no-any-return]  # what the function returned
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one

    def submit(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> Future[ReturnT]:
        """Queue a call and return the future of its result."""
        __tracebackhide__ = True
        try:
            submitter = self._submitter
            fits = (len(args), *kwargs) in self._shapes and "key" not in kwargs
            if not (fits and submitter and submitter.launcher.is_current(self)):
                self._refuse_way("submit", kwargs)
                self.check_arguments(args, kwargs)
                if self._executor_given and self._executor is not None:
                    return self._executor.submit(self, *args, **kwargs)
                from fal_core.batching.futures import Submitter

                launcher = self.make_launcher()
                submitter = self._submitter = self._submitter or Submitter(launcher)
            return submitter.submit(args, kwargs)
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one

    @overload
    def spawn(
        self: IsolatedFunction[ArgsT, Iterator[T]], /, *args: ArgsT.args, **kwargs: ArgsT.kwargs
    ) -> SpawnInfo[list[T]]: ...

    @overload
    def spawn(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> SpawnInfo[ReturnT]: ...

    @begins_at_caller
    def spawn(self, /, *args: Any, **kwargs: Any) -> SpawnInfo[Any]:
        """Start a call and return at once; its lines are queued, not printed."""
        self.check_arguments(args, kwargs)
        launcher = self.make_launcher()
        # Imported while the worker starts, as the host expects the call by now.
        from fal_core.calling.spawning import spawn

        return spawn(launcher, args, kwargs, self.policy.lifetime)

    @begins_at_caller
    def map(
        self,
        *iterables: Iterable[Any],
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
        progress: bool = False,
    ) -> Iterator[ReturnT]:
        """
        Call the function once for each item and iterate over the results.

        Arguments:
            iterables: As for ``map``. They are read while results are taken; may be endless.

            ordered: Give results in the order of the items, not as they come.

            return_exceptions: Give an exception in place of a result, do not raise it.

            window: How many items may be under way at once.

            progress: Show how many items have ended, on standard error or in the notebook.
        """
        self._refuse_way("map")
        if iterables:
            self.check_arguments(iterables, {})
        from fal_core.batching.maps import Mapped

        return Mapped(
            self.make_launcher(),
            iterables,
            ordered=ordered,
            return_exceptions=return_exceptions,
            window=window,
            progress=progress,
        )

    @begins_at_caller
    def stream(
        self: IsolatedFunction[ArgsT, Iterator[T]], /, *args: ArgsT.args, **kwargs: ArgsT.kwargs
    ) -> Iterator[T]:
        """Run a generator function and iterate over what it yields, as it does."""
        if not self.flavour.endswith("generator"):
            from fal_core.refusing.ways import refuse_plain

            refuse_plain(self)
        self.check_arguments(args, kwargs)
        from fal_core.calling.streaming import Stream

        return Stream(self.make_launcher(), args, kwargs)

    def run_local(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        """
        Run the function in this process, without an environment.

        Its ``setup_function`` runs before the first of these calls.
        """
        __tracebackhide__ = True
        try:
            from fal_core.calling.local_runs import LocalRuns

            with self._lock:
                runs = self._local_runs = self._local_runs or LocalRuns()
            return runs.run(self, args, kwargs)  # type: ignore[no-any-return]  # its own
        except Exception as error:
            raise trim_to_user(error)  # noqa: B904  # the same one

    @begins_at_caller
    def on(
        self,
        host: Host[Any, Any] | str | None = None,
        *,
        on_unsupported: OnUnsupported | None = None,
        **config: Unpack[AnyKeywords],
    ) -> Self:
        """
        Return this function on another *host*, or with other options.

        Options that the other host cannot use are kept for one that can.
        """
        return self._declared_as(self.declaration.on(host, config, on_unsupported))

    @begins_at_caller
    def with_policy(self, **changes: Unpack[PolicyKeywords]) -> Self:
        """Return this function with other timeouts, retries and the like."""
        return self._declared_as(self.declaration.with_policy(changes))

    def _declared_as(self, declaration: Declaration) -> Self:
        executor = self._executor if self._executor_given else None
        other = type(self)(executor=executor, **declaration.values)
        if self.raw_func is not None:
            functools.update_wrapper(other, self.raw_func, updated=())
        return other

    def make_launcher(self, *, rehearsed: bool = False) -> Launcher:
        """
        Return the launcher of this function as it is now. One that is *rehearsed* tells
        whether the function can be sealed, and is not kept.
        """
        launcher = self._launcher
        if launcher and not rehearsed and launcher.is_current(self):
            return launcher
        from fal_core.calling.launcher import Launcher
        from fal_core.sealing.stubs import stub

        stub(IsolatedFunction, ServedIsolatedFunction)
        if rehearsed:
            return Launcher(self.declaration, rehearsed=True)
        with self._lock:
            launcher = self._launcher = Launcher(self.declaration)
            self._submitter = None
        return launcher

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise Python's ``TypeError`` if the function does not take these arguments."""
        shape = (len(args), *kwargs)
        if shape not in self._shapes:
            if not self.declaration.takes(len(args), kwargs):
                from fal_core.refusing.signatures import refuse_arguments

                refuse_arguments(self.declaration, args, kwargs)
            if len(self._shapes) < 64:  # One that takes any name has no end of them.
                self._shapes.add(shape)

    def _refuse_way(self, way: str, names: Container[str] = ()) -> None:
        yields = self.flavour.endswith("generator")
        if yields or self.options.gateway.get("serve") or "key" in names:
            from fal_core.refusing.ways import refuse_way

            refuse_way(self, way, names)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: IsolatedFunction[Concatenate[Any, RestT], ReturnT],
        instance: object,
        owner: type | None = None,
    ) -> BoundFunction[RestT, ReturnT]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        from fal_core.calling.methods import BoundFunction

        return BoundFunction(self, instance)

    def __repr__(self) -> str:
        name = getattr(self.raw_func, "__qualname__", None) or self.app_name
        kind = self.options.environment.get("kind", "virtualenv")
        return f"<isolated function {name} ({kind}) on {self.host.name}>"

    def _repr_html_(self) -> str:
        from fal_core.declaring.shown_options import show_options

        return show_options(repr(self)[1:-1], self.options)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # If the function is found by its name, another process finds it so, too.
        found: Any = sys.modules.get(getattr(self.raw_func, "__module__", None) or "")
        name: str = getattr(self.raw_func, "__qualname__", "")
        found = functools.reduce(lambda at, own: getattr(at, own, None), name.split("."), found)
        return name if found is self else super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: self.__dict__[name] for name in self.__dict__ if name not in _OF_PROCESS}
        return state | {"_executor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__attrs_post_init__()


class ServedIsolatedFunction(IsolatedFunction[ArgsT, ReturnT]):
    """An isolated function that is served over HTTP once it is spawned."""
