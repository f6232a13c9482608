"""The decorator that makes a function isolated."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

import attrs

from fal_core.declaring.named_hosts import default_host, to_host
from fal_core.errors import OptionError, UnknownOptionError
from fal_core.functions import IsolatedFunction, ServedIsolatedFunction
from fal_core.hosts import Host
from fal_core.options import Lifetime, OnUnsupported, Options
from fal_core.policies import Policy
from fal_core.tracebacks.trimming import begins_at_caller

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fal_core.environments import Environment
    from fal_core.keywords.hosts import FunctionKeywords, KeywordsBesideOptions
    from fal_core.keywords.kinds import (
        CondaKeywords,
        ContainerKeywords,
        CurrentKeywords,
        VirtualenvKeywords,
    )
    from fal_core.keywords.values import ImageWithDockerfile

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT", covariant=True)
ItemT = TypeVar("ItemT")


# No overload takes any kind with any options: with one, every misspelt option would pass.


@overload
def function(
    kind: Literal["virtualenv"] = "virtualenv",
    *,
    serve: Literal[True],
    **config: Unpack[VirtualenvKeywords],
) -> _ServingDecorator: ...


@overload
def function(
    kind: Literal["virtualenv"] = "virtualenv",
    *,
    serve: Literal[False] = False,
    **config: Unpack[VirtualenvKeywords],
) -> _Decorator: ...


@overload
def function(
    kind: Literal["conda"],
    *,
    serve: Literal[True],
    **config: Unpack[CondaKeywords],
) -> _ServingDecorator: ...


@overload
def function(
    kind: Literal["conda"],
    *,
    serve: Literal[False] = False,
    **config: Unpack[CondaKeywords],
) -> _Decorator: ...


@overload
def function(
    kind: Literal["container"] = "container",
    *,
    image: str | ImageWithDockerfile | Mapping[str, Any],
    serve: Literal[True],
    **config: Unpack[ContainerKeywords],
) -> _ServingDecorator: ...


@overload
def function(
    kind: Literal["container"] = "container",
    *,
    image: str | ImageWithDockerfile | Mapping[str, Any],
    serve: Literal[False] = False,
    **config: Unpack[ContainerKeywords],
) -> _Decorator: ...


@overload
def function(
    kind: Literal["current"],
    *,
    serve: Literal[True],
    **config: Unpack[CurrentKeywords],
) -> _ServingDecorator: ...


@overload
def function(
    kind: Literal["current"],
    *,
    serve: Literal[False] = False,
    **config: Unpack[CurrentKeywords],
) -> _Decorator: ...


@overload
def function(
    kind: Environment,
    *,
    serve: Literal[True],
    **config: Unpack[FunctionKeywords],
) -> _ServingDecorator: ...


@overload
def function(
    kind: Environment,
    *,
    serve: Literal[False] = False,
    **config: Unpack[FunctionKeywords],
) -> _Decorator: ...


@overload
def function(
    kind: str,
    *,
    options: Mapping[str, Any],
    serve: Literal[True],
    **config: Unpack[KeywordsBesideOptions],
) -> _ServingDecorator: ...


@overload
def function(
    kind: str,
    *,
    options: Mapping[str, Any],
    serve: Literal[False] = False,
    **config: Unpack[KeywordsBesideOptions],
) -> _Decorator: ...


@begins_at_caller
def function(
    kind: str | Environment = "virtualenv",
    *misplaced: Any,
    host: Host[Any, Any] | str | None = None,
    local_python_modules: list[str] | None = None,
    timeout: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | Iterable[type[Exception]] = (),
    grace: float = 2.0,
    lifetime: Lifetime = "attached",
    seal: Literal["once", "every call"] = "once",
    on_unsupported: OnUnsupported = "warn",
    **config: Any,
) -> Any:
    """
    Make a function isolated: it runs on *host*, in an environment of its own.

    Arguments:
        kind: Of the environment, as in ``virtualenv``; or an environment, as in
            ``Virtualenv(requirements=["numpy"])``.

        misplaced: Nothing, as options are keywords: the error shows how they are written.

        host: Where it runs: a host, its name or its URL. The default is this
            machine, or what ``FAL_CORE_HOST`` names.

        local_python_modules: Modules to take along as source, beside those
            that are found.

        timeout: Seconds that a call may take, waiting and retries included; an
            item of a map has them from when the host runs it.

        retries: How often a call is made again after its host has failed.

        retry_on: Exceptions of the function after which it is called again.

        grace: Seconds that an interrupted call has to end of its own accord.

        lifetime: ``"detached"`` lets spawned calls outlive this process.

        seal: ``"once"`` seals the function at its first call; later changes inside
            the objects that it refers to are not seen. ``"every call"`` seals it anew
            for each call, and sees them.

        on_unsupported: What to do about options that the host cannot use:
            ``"warn"`` once about each, raise an ``"error"`` at the call, or
            ``"ignore"`` them.

        config: Options of the environment, the host and the gateway. Those that type
            checkers do not know may stand in a mapping, as ``options``.

    Raises:
        OptionError: The declaration is wrong.
    """
    if callable(kind):
        raise OptionError(
            "The decorator takes its options in parentheses: write @function(), "
            "or @function('virtualenv', …)."
        )
    if misplaced:
        from fal_core.refusing.positions import refuse_positions

        name = kind if isinstance(kind, str) else getattr(kind, "kind", "")
        refuse_positions(name, misplaced)
    # It brings the known options of all plugins, which importing this module does not need.
    from fal_core.declaring.machine_types import check_machine_types
    from fal_core.declaring.policy_checks import check_policy
    from fal_core.declaring.requirement_files import names_script, with_script

    policy = check_policy(
        {
            "timeout": timeout,
            "retries": retries,
            "retry_on": retry_on,
            "grace": grace,
            "lifetime": lifetime,
            "seal": seal,
            "on_unsupported": on_unsupported,
        }
    )
    place = to_host(host) if host is not None else default_host()
    written = _with_kind(kind, config)
    deferred = written if names_script(written) else None
    try:
        options = place.parse_options(**(with_script(written, None) if deferred else written))
    except UnknownOptionError as error:
        raise _suggest_keyword(error) from None
    check_machine_types(options, place)
    modules = _check_modules(local_python_modules)

    return Decorator(
        host=place,
        options=options,
        local_python_modules=modules,
        policy=policy,
        deferred=None if deferred is None else dict(deferred),
    )


def _suggest_keyword(error: UnknownOptionError) -> UnknownOptionError:
    """Return *error*, suggesting a keyword of the decorator where that is the nearest name."""
    import inspect

    from fal_core.declaring.known_options import nearest_name
    from fal_core.facts import with_facts

    own = set(inspect.signature(function).parameters) - {"config", "misplaced"}
    near = nearest_name(error.option, ({*own, *filter(None, [error.suggestion])},))
    return with_facts(error, suggestion=near)


def _with_kind(kind: str | Environment, config: Mapping[str, Any]) -> Mapping[str, Any]:
    # As documented, an image alone implies the kind ``container``.
    if kind == "virtualenv":
        more = config.get("options")
        named = more if isinstance(more, Mapping) else {}
        if config.get("image") is not None or named.get("image") is not None:
            return config
    return {"kind": kind, **config}


def _check_modules(modules: Any) -> tuple[str, ...] | None:
    if modules is None:
        return None
    from fal_core.sealing.sources import check_local_modules

    return tuple(check_local_modules(modules))


@attrs.frozen(kw_only=True, eq=False)
class Decorator:
    """
    Makes functions isolated, with the given host, options and policy.

    Attributes:
        deferred: The options as they are written, where they depend on the function.
    """

    host: Host[Any, Any] = attrs.field(repr=False)
    options: Options
    local_python_modules: tuple[str, ...] | None
    policy: Policy
    deferred: dict[str, Any] | None = None

    @begins_at_caller
    def __call__(self, func: Callable[..., Any]) -> IsolatedFunction[..., Any]:
        """
        Return *func* as an isolated function.

        Raises:
            OptionError: *func* cannot be called.
        """
        if not callable(func):
            raise OptionError(f"Only a function can be isolated, not {func!r}.")
        options = self.options
        if self.deferred is not None:
            from fal_core.declaring.requirement_files import with_script

            options = self.host.parse_options(**with_script(self.deferred, func))
        served = bool(options.gateway.get("serve"))
        isolated: IsolatedFunction[..., Any]
        isolated = (ServedIsolatedFunction if served else IsolatedFunction)(
            self.host,
            func,
            options,
            app_name=getattr(func, "__name__", None),
            local_python_modules=self.local_python_modules,
            policy=self.policy,
        )
        functools.update_wrapper(isolated, func, updated=())
        return isolated

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions that refer to it travel without the host, which stays here.
        from fal_core_worker.opening.absent import make_decorator

        return make_decorator, ()


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator
    from typing import Protocol

    class _ServingDecorator(Protocol):
        def __call__(
            self, func: Callable[ArgsT, ReturnT], /
        ) -> ServedIsolatedFunction[ArgsT, ReturnT]: ...

    class _Decorator(Protocol):
        @overload
        def __call__(
            self, func: Callable[ArgsT, Coroutine[Any, Any, ItemT]]
        ) -> IsolatedFunction[ArgsT, ItemT]: ...

        @overload
        def __call__(
            self, func: Callable[ArgsT, Generator[ItemT, Any, Any]]
        ) -> IsolatedFunction[ArgsT, Iterator[ItemT]]: ...

        @overload
        def __call__(
            self, func: Callable[ArgsT, AsyncGenerator[ItemT, Any]]
        ) -> IsolatedFunction[ArgsT, Iterator[ItemT]]: ...

        @overload
        def __call__(
            self, func: Callable[ArgsT, AsyncIterator[ItemT]]
        ) -> IsolatedFunction[ArgsT, Iterator[ItemT]]: ...

        @overload
        def __call__(
            self, func: Callable[ArgsT, Awaitable[ItemT]]
        ) -> IsolatedFunction[ArgsT, ItemT]: ...

        @overload
        def __call__(self, func: Callable[ArgsT, ItemT]) -> IsolatedFunction[ArgsT, ItemT]: ...
