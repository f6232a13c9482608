"""The declaration of an isolated function: all that a call is made from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any, Literal, NamedTuple

import attrs

from fal_core.calls import AuthMode
from fal_core.declaring.named_hosts import to_host
from fal_core.errors import UnknownOptionError
from fal_core.hosts import Host
from fal_core.options import OnUnsupported, Options
from fal_core.policies import Policy
from fal_core.reprs import show_fields

Flavour = Literal["function", "coroutine", "generator", "async generator"]


class Parameters(NamedTuple):
    """
    The names of a function's parameters: those that are given by position, by either, and by
    name alone.
    """

    by_position: tuple[str, ...]
    by_either: tuple[str, ...]
    by_name_alone: tuple[str, ...]

    @classmethod
    def of(cls, code: CodeType) -> Parameters:
        """Return those of the function with this *code*."""
        last = code.co_argcount
        names = code.co_varnames[: last + code.co_kwonlyargcount]
        return cls(names[:last], names[code.co_posonlyargcount : last], names[last:])


@attrs.frozen(kw_only=True, eq=False)
class Declaration:
    """
    What an isolated function declares, at the moment at which it is called.

    Attributes:
        host: The host that runs the calls.

        raw_func: The function as it was written. None if there is no code.

        reraise: Whether the caller gets exceptions of the function themselves.

        app_name: What a host calls the application.

        app_auth: Who may reach the application.

        local_python_modules: Modules that travel with the function as source.
    """

    __repr__ = show_fields

    host: Host[Any, Any]
    raw_func: Callable[..., Any] | None
    options: Options
    policy: Policy = attrs.field(factory=Policy)
    reraise: bool = True
    app_name: str | None = None
    app_auth: AuthMode | None = None
    local_python_modules: tuple[str, ...] | None = None

    @classmethod
    def of(cls, function: Any) -> Declaration:
        """Return what *function*, which has these attributes, declares now."""
        return cls(**{field.name: getattr(function, field.name) for field in attrs.fields(cls)})

    @property
    def values(self) -> dict[str, Any]:
        """The attributes by their names."""
        return attrs.asdict(self, recurse=False)

    @property
    def name(self) -> str:
        """The name of the function, for people."""
        return getattr(self.raw_func, "__name__", "function")

    @property
    def flavour(self) -> Flavour:
        """What calling the function gives. A call of a served one runs its server."""
        if self.options.gateway.get("serve"):
            return "function"
        func = inspect.unwrap(self.raw_func) if callable(self.raw_func) else None
        if isinstance(func, functools.partial):
            func = func.func
        if inspect.isasyncgenfunction(func):
            return "async generator"
        if inspect.isgeneratorfunction(func):
            return "generator"
        return "coroutine" if inspect.iscoroutinefunction(func) else "function"

    @property
    def is_generator(self) -> bool:
        """Whether calls yield items."""
        return self.flavour.endswith("generator")

    @property
    def is_service(self) -> bool:
        """Whether the function is reached from outside."""
        gateway = self.options.gateway
        return bool(gateway.get("serve")) or gateway.get("exposed_port") is not None

    @property
    def has_setup(self) -> bool:
        """Whether the function is given what its setup has returned, before all else."""
        return self.options.host.get("setup_function") is not None

    def takes(self, count: int, names: Iterable[str]) -> bool:
        """
        Tell whether calls take *count* positional arguments, and keywords of these *names*.

        A function that is wrapped takes what its wrapper does. What is no Python function
        takes anything, as far as is known here.
        """
        func = self.raw_func
        if not isinstance(func, FunctionType) or self.options.gateway.get("serve"):
            return True
        count += self.has_setup
        parameters, flags = Parameters.of(func.__code__), func.__code__.co_flags
        by_position, by_either, by_name_alone = parameters
        given = set(names)
        if count > len(by_position) and not flags & inspect.CO_VARARGS:
            return False
        if given.difference(by_either, by_name_alone) and not flags & inspect.CO_VARKEYWORDS:
            return False
        if given.intersection(by_position[:count], by_either):
            return False
        needed = by_position[count : len(by_position) - len(func.__defaults__ or ())]
        if not given.intersection(by_either).issuperset(needed):
            return False
        return given.union(func.__kwdefaults__ or ()).issuperset(by_name_alone)

    def on(
        self,
        host: Host[Any, Any] | str | None,
        config: Mapping[str, Any],
        on_unsupported: OnUnsupported | None = None,
    ) -> Declaration:
        """
        Return this declaration for another host, or with the options of *config* changed.

        Raises:
            OptionError: The host is unknown, or an option is.
        """
        place: Host[Any, Any] = self.host if host is None else to_host(host)
        from fal_core.declaring.machine_types import check_machine_types
        from fal_core.declaring.requirement_files import names_script, with_script
        from fal_core.declaring.vocabulary import with_changes

        if self.raw_func is not None and names_script(config):
            config = with_script(config, self.raw_func)
        written, kept = with_changes(self.options, config)
        try:
            options = place.parse_options(**written)
        except UnknownOptionError as error:
            from fal_core.declaring.policy_checks import hint_at_policy

            raise hint_at_policy(error) from None
        check_machine_types(options, place)
        options.kept = kept
        policy = self.policy
        if on_unsupported is not None:
            policy = attrs.evolve(policy, on_unsupported=on_unsupported)
        return attrs.evolve(self, host=place, options=options, policy=policy)

    def with_policy(self, changes: Mapping[str, Any]) -> Declaration:
        """
        Return this declaration with parts of its policy changed.

        Raises:
            OptionError: A part is unknown, or has a wrong type.
        """
        from fal_core.declaring.policy_checks import check_policy

        values = attrs.asdict(self.policy, recurse=False) | dict(changes)
        return attrs.evolve(self.on(None, {}), policy=check_policy(values))
