"""
Validation: checks that a plugin keeps to the contract, before anything of it is used.

Each check returns a sentence that says what is wrong, or None.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import FunctionType
from typing import Any

import attrs

from fal_core.abilities import DetachingHost
from fal_core.conversion.annotations import (
    kind_of_type,
    option_names,
    option_types,
    plain,
)
from fal_core.conversion.structuring import structure
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.errors import OptionTypeError
from fal_core.hooks import API_VERSION
from fal_core.hosts import Capabilities, Host
from fal_core.options import Gateway, HostOptions
from fal_core.plugins.hook_names import nearest

#: Keywords of the decorator itself, which no option can be called.
RESERVED = frozenset(
    {"kind", "host", "local_python_modules", "on_unsupported", "options", "seal"}
)

_NAME = re.compile(r"[a-z][a-z0-9+.-]*")


def check_version(plugin: object) -> str | None:
    """Check the integer that a plugin states as ``fal_core_api``."""
    stated = getattr(plugin, "fal_core_api", None)
    if stated is None:
        return (
            "it does not define fal_core_api. "
            f"Write 'fal_core_api = {API_VERSION}' in its module."
        )
    if type(stated) is not int:
        return f"its fal_core_api is {stated!r}, and must be an integer."
    if stated != API_VERSION:
        side = "fal-core" if stated > API_VERSION else "the plugin"
        return (
            f"it was written for version {stated} of the plugin API, and this fal-core "
            f"has version {API_VERSION}. Upgrade {side}."
        )
    return None


def check_host(cls: object) -> str | None:
    """Check a class that ``fal_register_hosts`` returned."""
    if not isinstance(cls, type) or not issubclass(cls, Host):
        return f"{cls!r} is not a subclass of Host."
    problem = _check_class(cls, "name", decorator="attrs.define(eq=False, slots=False)")
    if problem is not None:
        return problem
    if cls.__hash__ is None:
        return f"{cls.__name__} cannot be hashed. Decorate it with attrs.define(eq=False)."
    problem = check_signatures(cls) or _check_made_by_name(cls)
    if problem is not None:
        return problem
    return _check_options(cls) or _check_capabilities(cls)


def mandatory_fields(cls: type) -> tuple[str, ...]:
    """Return the fields without which the attrs class *cls* cannot be made."""
    return tuple(
        str(field.alias)
        for field in attrs.fields(cls)
        if field.init and field.default is attrs.NOTHING
    )


def _check_made_by_name(cls: type[Host[..., Any]]) -> str | None:
    missing = mandatory_fields(cls)
    # Its own from_url may fill the fields in.
    has_own = inspect.getattr_static(cls, "from_url") is not vars(Host)["from_url"]
    if not missing or has_own:
        return None
    fields = " and ".join(missing)
    return (
        f"{cls.__name__} cannot be made of its name alone, as {fields} has no default. Give "
        "it one, or write from_url, which returns the host of a URL."
    )


def _check_capabilities(cls: type[Host[..., Any]]) -> str | None:
    capabilities: object = cls.capabilities
    if isinstance(capabilities, property | cached_property):
        # A wrapper host computes them.
        return None
    if not isinstance(capabilities, Capabilities):
        return (
            f"The capabilities of {cls.__name__} are {capabilities!r}. Write "
            "'capabilities: ClassVar[Capabilities] = Capabilities(…)'."
        )
    has_own = cls.ability is not Host.ability
    if capabilities.detach and not has_own and not issubclass(cls, DetachingHost):
        return (
            f"{cls.__name__} declares that its work can be detached, and does not derive "
            "from DetachingHost. Derive it from that class, or set detach=False."
        )
    documented = option_names(HostOptions)
    for option in sorted((capabilities.options or frozenset()).difference(documented)):
        return f"The capabilities of {cls.__name__} claim option {option!r}. " + (
            "It is one of its own, and those are always included: leave it out."
            if isinstance(cls.options, type) and option in option_names(cls.options)
            else f"No documented option is called so.{nearest(option, documented)}"
        )
    return None


def _check_options(cls: type[Host[..., Any]]) -> str | None:
    options = cls.options
    if isinstance(options, property | cached_property):
        # It computes them, as a wrapper host does; those of the inner host were checked.
        return None
    if not isinstance(options, type) or not issubclass(options, HostOptions):
        return f"The options of {cls.__name__} are {options!r}, not a subclass of HostOptions."
    if not _is_decorated(options):
        return f"{options.__name__} is not decorated with attrs.frozen(kw_only=True)."
    return (
        _check_frozen(options)
        or _check_types(options)
        or _check_redefined(options)
        or _check_defaults(options, _own_fields(options))
    )


def check_environment(cls: object) -> str | None:
    """Check a class that ``fal_register_environments`` returned."""
    if not isinstance(cls, type) or not issubclass(cls, Environment):
        return f"{cls!r} is not a subclass of Environment."
    problem = _check_class(cls, "kind", decorator="attrs.frozen(kw_only=True)")
    if problem is not None:
        return problem
    taken = RESERVED.union(option_names(HostOptions), option_names(Gateway))
    for option in option_names(cls):
        if option in taken:
            return f"{cls.__name__} has an option {option!r}, which is not the environment's."
    return (
        _check_frozen(cls) or _check_types(cls) or _check_defaults(cls) or check_signatures(cls)
    )


def check_together(
    host_options: Mapping[str, Any], environment_options: Mapping[str, str], cls: type
) -> str | None:
    """
    Check the options of *cls* against those that other plugins registered.

    Arguments:
        host_options: The type of each option of the hosts.

        environment_options: For each option of the environments a kind that has it.
    """
    is_host = issubclass(cls, HostOptions)
    for option, annotation in option_types(cls).items():
        if is_host and option in environment_options:
            kind = environment_options[option]
            return f"{cls.__name__} has an option {option!r}, which is one of kind {kind!r}."
        if not is_host and option in host_options:
            return f"{cls.__name__} has an option {option!r}, which is one of a host."
        if is_host and host_options.get(option, annotation) != annotation:
            return (
                f"{cls.__name__} redefines option {option!r} as {annotation}; "
                f"another plugin has it as {host_options[option]}."
            )
    return None


def _check_class(cls: type, label: str, *, decorator: str) -> str | None:
    name = getattr(cls, label, None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"{cls.__name__} has no usable {label}. Set {label}: ClassVar[str] to lower-case "
            f"letters, digits, '+', '.' and '-', and let a letter be first."
        )
    if not _is_decorated(cls):
        return f"{cls.__name__} is not decorated with {decorator}."
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        return f"{cls.__name__} does not write {', '.join(missing)}."
    return None


def _is_decorated(cls: type) -> bool:
    # An undecorated subclass inherits the fields of its base, and its own are ignored.
    return "__attrs_attrs__" in vars(cls)


def _check_frozen(cls: type) -> str | None:
    # attrs gives the same method to every frozen class.
    shared: object = CurrentEnvironment.__setattr__
    if cls.__setattr__ is not shared:
        return f"{cls.__name__} is not frozen. Decorate it with attrs.frozen(kw_only=True)."
    return None


def _check_types(cls: type) -> str | None:
    try:
        option_types(cls)
    except Exception as error:
        return (
            f"The annotations of {cls.__name__} cannot be read ({error}). Import what they "
            "name outside of 'if TYPE_CHECKING'."
        )
    return None


def _check_redefined(options: type[HostOptions]) -> str | None:
    documented = {attribute.alias: attribute for attribute in attrs.fields(HostOptions)}
    for attribute in _own_fields(options):
        option = str(attribute.alias)
        if option in RESERVED or option in option_names(Gateway):
            return f"{options.__name__} has an option {option!r}, which is not a host's."
        if attribute.default is attrs.NOTHING:
            return f"{options.__name__}: option {option!r} has no default, and must have one."
        same = documented.get(option)
        if same is None:
            continue
        is_typed_alike = option_types(options)[option] == option_types(HostOptions)[option]
        if not is_typed_alike or attribute.default != same.default:
            return (
                f"{options.__name__} redefines option {option!r} of HostOptions. "
                "Give an option of its own another name."
            )
    return None


def _check_defaults(
    cls: type, fields: Iterable[attrs.Attribute[Any]] | None = None
) -> str | None:
    types = option_types(cls)
    # A class at run time.
    factory: Any = attrs.Factory
    for attribute in attrs.fields(cls) if fields is None else fields:
        option, default = str(attribute.alias), attribute.default
        if not attribute.init or attribute.converter or default is attrs.NOTHING:
            continue
        if isinstance(default, factory):
            if default.takes_self:
                continue
            default = default.factory()
        annotation = plain(types[option])
        if type(default) is kind_of_type(annotation) and not default:
            # An empty one holds nothing of a wrong type.
            continue
        try:
            structure(default, annotation, option)
        except OptionTypeError as error:
            return (
                f"{cls.__name__}: the default of option {error.option!r} must be "
                f"{error.expected}, and is {error.got}. Give it another default or type."
            )
    return None


def _own_fields(options: type[HostOptions]) -> Iterator[attrs.Attribute[Any]]:
    inherited = attrs.fields(HostOptions)
    return (field for field in attrs.fields(options) if field not in inherited)


#: What makes a function more than one that takes its arguments by position and runs at once.
_SPECIAL = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


def check_signatures(cls: type) -> str | None:
    """Check that the methods of *cls* take what the contract says that they are given."""
    for base in cls.__mro__[1:]:
        if not base.__module__.startswith("fal_core."):
            continue
        for name, declared in vars(base).items():
            written = inspect.getattr_static(cls, name)
            if name.startswith("_") or written is declared:
                continue
            problem = _compare(cls, name, declared, written)
            if problem is not None:
                return problem
    return None


def _compare(cls: type, name: str, declared: object, written: object) -> str | None:
    contract = _function_of(declared)
    if contract is None:
        return None
    function = _function_of(written)
    if type(written) is type(declared) and function and _are_alike(function, contract):
        return None
    # Annotations are read where there is more to compare, and to show.
    from fal_core_worker.annotations import signature_of

    wanted = inspect.signature(contract)
    of_class = isinstance(declared, classmethod)
    to_write = f"'{'@classmethod ' if of_class else ''}def {name}{_show(wanted)}'"
    if function is None:
        # What takes its arguments by other means is not judged.
        is_method = callable(written) or isinstance(written, (staticmethod, classmethod))
        return None if is_method else f"{cls.__name__}.{name} is no method: {written!r}."
    is_lazy = inspect.isgeneratorfunction(function) and not _may_be_lazy(wanted)
    if is_lazy or inspect.iscoroutinefunction(function):
        manner = "yields" if is_lazy else "is async"
        return (
            f"{cls.__name__}.{name} {manner}, so calling it does nothing. "
            f"Write {to_write} that runs when it is called."
        )
    taken = signature_of(function)
    given = list(wanted.parameters)
    if isinstance(written, staticmethod) or (of_class and written is function):
        # Nothing is bound to the first one.
        del given[0]
    try:
        taken.bind(*given)
    except TypeError:
        return (
            f"{cls.__name__}.{name} takes {_show(taken)}, and is called "
            f"with ({', '.join(given)}). Write {to_write}."
        )
    return None


def _function_of(attribute: object) -> FunctionType | None:
    if isinstance(attribute, (staticmethod, classmethod)):
        attribute = attribute.__func__
    return attribute if isinstance(attribute, FunctionType) else None


def _are_alike(one: FunctionType, other: FunctionType) -> bool:
    """
    Tell whether two functions take as many arguments by position, and nothing else.

    Most of those there are do, and every program that declares a function asks this.
    """
    first, second = one.__code__, other.__code__
    return (
        first.co_argcount == second.co_argcount
        and not (first.co_kwonlyargcount or second.co_kwonlyargcount)
        and not (first.co_flags | second.co_flags) & _SPECIAL
    )


def _show(signature: inspect.Signature) -> str:
    """Return the names in *signature*, with the stars before them."""
    empty = inspect.Parameter.empty
    names = [
        parameter.replace(annotation=empty, default=empty)
        for parameter in signature.parameters.values()
    ]
    # Made anew: names without defaults may follow each other as they like.
    return str(inspect.Signature(names))


def _may_be_lazy(wanted: inspect.Signature) -> bool:
    return str(wanted.return_annotation).startswith("Iter")
