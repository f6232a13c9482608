"""
Isolated functions: what the decorator makes of a function.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    overload,
)

import attrs

from fal_core.declaring.named_hosts import to_host
from fal_core.declaring.policy_checks import check_policy, hint_at_policy
from fal_core.errors import (
    FalServerlessError,
    OptionError,
    UnknownOptionError,
)
from fal_core.hosts import Host
from fal_core.options import OnUnsupported, Options
from fal_core.policies import Policy

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from fal_core.aio import AsyncCalls
    from fal_core.batching.futures import Submitter
    from fal_core.calling.launcher import Launcher
    from fal_core.calling.methods import BoundFunction
    from fal_core.calls import AuthMode
    from fal_core.spawns import SpawnInfo

ArgsT = ParamSpec("ArgsT")
RestT = ParamSpec("RestT")
ReturnT = TypeVar("ReturnT", covariant=True)
ItemT = TypeVar("ItemT")

Flavour = Literal["function", "coroutine", "generator", "async generator"]


@attrs.define(eq=False, slots=False)
class IsolatedFunction(Generic[ArgsT, ReturnT]):
    """
    A function that runs on a host, in an environment of its own.

    Calling it runs it there and waits. Its options are never changed by a call;
    :meth:`on` gives another function with other options.

    Attributes:
        raw_func: The function as it was written.

        reraise: Raise what the function raised as itself; otherwise as the
            cause of a ``UserFunctionException``.

        app_name: What a host calls the application.

        app_auth: Who may reach the application.

        local_python_modules: Modules that travel with the function as source.

        policy: Timeouts, retries and the like, which the core keeps.
    """

    host: Host[ArgsT, ReturnT]
    raw_func: Callable[ArgsT, ReturnT] | None
    options: Options
    # The documented default is an executor of its own; it is made once it is asked for.
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
        self._lock = threading.Lock()

    # -- what it is ------------------------------------------------------------

    @property
    def func(self) -> Callable[ArgsT, ReturnT]:
        """
        The function that is run: served, where the options say so.
        """
        if self.raw_func is None:
            raise FalServerlessError("This isolated function has no code of its own.")
        if self.options.gateway.get("serve"):
            from fal_core.calling.serving import make_server

            return make_server(self)
        return self.raw_func

    @property
    def executor(self) -> ThreadPoolExecutor:
        """
        The threads that submitted calls wait on, where the caller gave some.
        """
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor()
        return self._executor

    @executor.setter
    def executor(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._executor_given = True

    @functools.cached_property
    def flavour(self) -> Flavour:
        """
        What calling the function gives.
        """
        func = inspect.unwrap(self.raw_func) if callable(self.raw_func) else None
        if isinstance(func, functools.partial):
            func = func.func
        if inspect.isasyncgenfunction(func):
            return "async generator"
        if inspect.isgeneratorfunction(func):
            return "generator"
        return "coroutine" if inspect.iscoroutinefunction(func) else "function"

    @property
    def aio(self) -> AsyncCalls[ArgsT, ReturnT]:
        """
        The same calls for code that runs in an event loop.
        """
        from fal_core.aio import AsyncCalls

        return AsyncCalls(self)

    # -- running it ------------------------------------------------------------

    def __call__(self, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        """
        Run the function on its host and wait for what it returns.

        A generator function gives an iterator of what it yields.

        Raises:
            Exception: What the function raised, its traceback there as cause.

            HostError: The host failed.
        """
        launcher = self._launcher
        if launcher is None or not launcher.is_current():
            launcher = self.make_launcher()
        if self.flavour.endswith("generator"):
            from fal_core.calling.streaming import Stream

            # An iterator is what it says that it returns.
            return Stream(launcher, args, kwargs)  # type: ignore[return-value]
        if launcher.policy.retries:
            from fal_core.calling.attempts import call_again

            returned: ReturnT = call_again(launcher, (args, kwargs))
            return returned
        waiter = launcher.waiter()
        waiter.wait(launcher.launch(launcher.call((args, kwargs)), waiter))
        result: ReturnT = waiter.result()
        return result

    def submit(self, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> Future[ReturnT]:
        """
        Queue a call and return the future of its result.
        """
        self._refuse_generator("submit", "stream")
        if self._executor_given and self._executor is not None:
            return self._executor.submit(self, *args, **kwargs)
        submitter = self._submitter
        launcher = self._launcher
        if submitter is None or launcher is None or not launcher.is_current():
            from fal_core.batching.futures import Submitter

            launcher = self.make_launcher()
            submitter = self._submitter = Submitter(launcher)
        return submitter.submit(args, kwargs)

    def spawn(self, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> SpawnInfo:
        """
        Start a call and return at once; its lines are queued, not printed.
        """
        lifetime = self.policy.lifetime
        if lifetime == "detached":
            from fal_core.calling.preconditions import refuse_detached

            if refusal := refuse_detached(self.host):
                raise refusal
        launcher = self.make_launcher()
        # Imported while the worker starts, which the launcher has told the host to expect.
        from fal_core.calling.spawning import spawn

        return spawn(launcher, args, kwargs, lifetime)

    def map(
        self,
        *iterables: Iterable[Any],
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
    ) -> Iterator[ReturnT]:
        """
        Call the function once for each item and iterate over the results.

        Calls share launches; how many adapts to the time they take.

        Arguments:
            iterables: As for ``map``; they are read as results are taken, and
                may be endless.

            ordered: Give results in the order of the items, otherwise as they
                come.

            return_exceptions: Give an exception in place of a result instead
                of raising it.

            window: How many items may be under way at once.
        """
        self._refuse_generator("map", "stream")
        from fal_core.batching.maps import Mapping as Mapped

        if window is not None and window < 1:
            raise OptionError(f"Argument 'window' must be at least 1, not {window}.")
        return Mapped(
            self.make_launcher(),
            iterables,
            ordered=ordered,
            return_exceptions=return_exceptions,
            window=window,
        )

    def stream(
        self: IsolatedFunction[ArgsT, Iterator[ItemT]],
        *args: ArgsT.args,
        **kwargs: ArgsT.kwargs,
    ) -> Iterator[ItemT]:
        """
        Run a generator function and iterate over what it yields, as it does.
        """
        if not self.flavour.endswith("generator"):
            raise OptionError(
                f"{self!r} yields nothing to stream: it is no generator function. "
                "Call it, or make it yield."
            )
        from fal_core.calling.streaming import Stream

        return Stream(self.make_launcher(), args, kwargs)

    def run_local(self, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        """
        Run the function in this process, without an environment.
        """
        result = self.func(*args, **kwargs)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
        return result

    # -- changing it -----------------------------------------------------------

    def on(
        self,
        host: Host[Any, Any] | str | None = None,
        *,
        on_unsupported: OnUnsupported | None = None,
        **config: Any,
    ) -> IsolatedFunction[ArgsT, ReturnT]:
        """
        Return this function on another *host*, or with other options.

        Options that the other host cannot use are kept for one that can.
        """
        place: Host[Any, Any] = self.host if host is None else to_host(host)
        written = {**self.options.host, **self.options.environment, **self.options.gateway}
        try:
            options = place.parse_options(**{**written, **config})
        except UnknownOptionError as error:
            raise hint_at_policy(error) from None
        policy = self.policy
        if on_unsupported is not None:
            policy = attrs.evolve(policy, on_unsupported=on_unsupported)
        other = type(self)(
            place,
            self.raw_func,
            options,
            self._executor if self._executor_given else None,
            self.reraise,
            self.app_name,
            self.app_auth,
            local_python_modules=self.local_python_modules,
            policy=policy,
        )
        if self.raw_func is not None:
            functools.update_wrapper(other, self.raw_func, updated=())
        return other

    def with_policy(self, **changes: Any) -> IsolatedFunction[ArgsT, ReturnT]:
        """
        Return this function with other timeouts, retries and the like.
        """
        other = self.on()
        other.policy = check_policy(attrs.asdict(self.policy, recurse=False) | changes)
        return other

    def make_launcher(self) -> Launcher:
        """
        Return the launcher of this function as it is now.
        """
        launcher = self._launcher
        if launcher is not None and launcher.is_current():
            return launcher
        from fal_core.calling.launcher import Launcher

        stubbed = (IsolatedFunction, ServedIsolatedFunction)
        with self._lock:
            launcher = self._launcher = Launcher(self, stubbed=stubbed)
            self._submitter = None
        return launcher

    def _refuse_generator(self, way: str, other: str) -> None:
        if self.flavour.endswith("generator"):
            raise OptionError(
                f"{self!r} is a generator function and cannot be used with {way!r}. "
                f"Use {other!r} to take what it yields."
            )

    @overload
    def __get__(
        self, instance: None, owner: type | None = None
    ) -> IsolatedFunction[ArgsT, ReturnT]: ...

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

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Where the function's own name leads to, another process finds it too.
        found: Any = sys.modules.get(getattr(self.raw_func, "__module__", None) or "")
        name: str = getattr(self.raw_func, "__qualname__", "")
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_executor", "_launcher", "_submitter", "_lock", "_home_number"):
            state.pop(name, None)
        state["_executor_given"] = False
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._executor = None
        self._launcher = self._submitter = None
        self._lock = threading.Lock()


class ServedIsolatedFunction(IsolatedFunction[ArgsT, ReturnT]):
    """
    An isolated function that is served over HTTP once it is spawned.
    """
