"""Isolated methods: an isolated function that is accessed through an instance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import attrs

from fal_core.sealing.stubs import stub_reducers
from fal_core.tracebacks.trimming import begins_at_caller, trim_to_user
from fal_core_worker.annotations import signature_of

if TYPE_CHECKING:
    import inspect
    from concurrent.futures import Future

    from typing_extensions import Unpack

    from fal_core.aio import AsyncCalls
    from fal_core.declaring.declaration import Flavour
    from fal_core.hosts import Host
    from fal_core.keywords import AnyKeywords, PolicyKeywords
    from fal_core.keywords.maps import MapKeywords
    from fal_core.options import OnUnsupported
    from fal_core.spawns import SpawnInfo

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT", covariant=True)
ItemT = TypeVar("ItemT")


@attrs.frozen(eq=False)
class BoundFunction(Generic[ArgsT, ReturnT]):
    """
    An isolated function and the instance that is the first argument of its calls.

    It is called in the ways of an :class:`IsolatedFunction`, and has its attributes.
    The instance travels with each call, as any argument does.
    """

    # Any: type checkers would bind an isolated function once more.
    __func__: Any = attrs.field(alias="function")
    __self__: Any = attrs.field(alias="instance")

    @begins_at_caller
    def __call__(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        """Run the method on its host and wait for what it returns."""
        result: ReturnT = self.__func__(self.__self__, *args, **kwargs)
        return result

    @begins_at_caller
    def submit(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> Future[ReturnT]:
        """Queue a call and return the future of its result."""
        future: Future[ReturnT] = self.__func__.submit(self.__self__, *args, **kwargs)
        return future

    @overload
    def spawn(
        self: BoundFunction[ArgsT, Iterator[ItemT]],
        /,
        *args: ArgsT.args,
        **kwargs: ArgsT.kwargs,
    ) -> SpawnInfo[list[ItemT]]: ...

    @overload
    def spawn(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> SpawnInfo[ReturnT]: ...

    @begins_at_caller
    def spawn(self, /, *args: Any, **kwargs: Any) -> SpawnInfo[Any]:
        """Start a call and return at once; its lines are queued, not printed."""
        info: SpawnInfo[Any] = self.__func__.spawn(self.__self__, *args, **kwargs)
        return info

    @begins_at_caller
    def map(
        self, *iterables: Iterable[Any], **options: Unpack[MapKeywords]
    ) -> Iterator[ReturnT]:
        """Call the method once for each item, as :meth:`IsolatedFunction.map` does."""
        if not iterables:
            # The instance alone would never come to an end. It is no mistake of this frame.
            __tracebackhide__ = True
            raise TypeError("A map needs at least one iterable of arguments.")
        results: Iterator[ReturnT]
        results = self.__func__.map(repeat(self.__self__), *iterables, **options)
        return results

    @begins_at_caller
    def stream(
        self: BoundFunction[ArgsT, Iterator[ItemT]],
        /,
        *args: ArgsT.args,
        **kwargs: ArgsT.kwargs,
    ) -> Iterator[ItemT]:
        """Run a generator method and iterate over what it yields, as it does."""
        items: Iterator[ItemT] = self.__func__.stream(self.__self__, *args, **kwargs)
        return items

    def run_local(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        """Run the method in this process, without an environment."""
        __tracebackhide__ = True
        try:
            result: ReturnT = self.__func__.run_local(self.__self__, *args, **kwargs)
            return result
        except Exception as error:
            raise trim_to_user(error)  # noqa: B904  # the same one

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise Python's ``TypeError`` if the method does not take these arguments."""
        self.__func__.check_arguments((self.__self__, *args), kwargs)

    @property
    def aio(self) -> AsyncCalls[ArgsT, ReturnT]:
        """The same calls for code that runs in an event loop."""
        from fal_core.aio import AsyncCalls

        return AsyncCalls(self)

    @property
    def flavour(self) -> Flavour:
        """What calling the method gives."""
        flavour: Flavour = self.__func__.flavour
        return flavour

    @begins_at_caller
    def on(
        self,
        host: Host[Any, Any] | str | None = None,
        *,
        on_unsupported: OnUnsupported | None = None,
        **config: Unpack[AnyKeywords],
    ) -> BoundFunction[ArgsT, ReturnT]:
        """Return this method on another *host*, or with other options."""
        return BoundFunction(
            self.__func__.on(host, on_unsupported=on_unsupported, **config), self.__self__
        )

    @begins_at_caller
    def with_policy(self, **changes: Unpack[PolicyKeywords]) -> BoundFunction[ArgsT, ReturnT]:
        """Return this method with other timeouts, retries and the like."""
        return BoundFunction(self.__func__.with_policy(**changes), self.__self__)

    @property
    def __signature__(self) -> inspect.Signature:
        whole = signature_of(self.__func__)
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __getattr__(self, name: str) -> Any:
        # Copy and pickle ask for special names before the fields are set.
        if name.startswith("__") and name not in ("__name__", "__qualname__", "__wrapped__"):
            raise AttributeError(name)
        return getattr(self.__func__, name)

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {self.__self__!r}>"


def reduce_bound(bound: BoundFunction[..., Any]) -> tuple[Any, ...]:
    """Reduce *bound*, which the function being sealed has captured, to a stub."""
    from fal_core_worker.opening.stubs import BoundStub

    return BoundStub, (bound.__func__, bound.__self__)


stub_reducers[BoundFunction] = reduce_bound
