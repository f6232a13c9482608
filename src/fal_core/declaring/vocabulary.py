"""The vocabulary: options as users write them, sorted by owner and made typed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from fal_core.conversion.annotations import option_names
from fal_core.declaring.known_options import SPELLINGS, KnownOptions, nearest_name
from fal_core.declaring.machine_types import MACHINE_OPTIONS
from fal_core.declaring.requirement_files import with_paths
from fal_core.declaring.typed_options import TypedOptionsCache, build, restore, unstructure
from fal_core.environments import Environment
from fal_core.errors import (
    OptionError,
    OptionTypeError,
    UnknownNameError,
    UnknownOptionError,
)
from fal_core.facts import with_facts
from fal_core.hosts import Host
from fal_core.options import Gateway, HostOptions, Options
from fal_core.plugins.installed import find_environment, load_plugins

DEFAULT_KIND = "virtualenv"


def known_options() -> KnownOptions:
    """Return the options that the plugins of this process know, and hosts that are no plugin."""
    global _known_options
    plugins, others, current = load_plugins(), _others, _known_options
    if current is None or current.plugins is not plugins or current.others is not others:
        current = _known_options = KnownOptions.read(plugins, others)
    return current


def _note_options(own: type[HostOptions]) -> None:
    """Know the options of a host that is no plugin too, also where its function is moved."""
    global _others
    # One class for each name: a program may make classes of hosts again and again.
    if not set(option_names(own)) <= known_options().host.keys():
        with _lock:
            _others = (*_others, own)


_known_options: KnownOptions | None = None
# It is replaced, never changed: what was read of it before is out of date.
_others: tuple[type[HostOptions], ...] = ()
_lock = threading.Lock()


def parse_options(config: Mapping[str, Any], own: type[HostOptions] = HostOptions) -> Options:
    """
    Sort *config* into options of the host, the environment and the gateway, and check all.

    Arguments:
        own: The class of the options of the host that the function is declared for.

    Raises:
        OptionError: An option is unknown, of another kind, or of a wrong type; or
            the kind is unknown.

        PluginError: Several plugins claim the kind.
    """
    _note_options(own)
    known, options = known_options(), Options()
    owners = {**known.host, **dict.fromkeys(option_names(own), own)}
    written = _respell(spread_if_needed(config))
    kind = kind_of(written)
    usable = option_names(_find_environment(kind, written))
    for name, value in written.items():
        if name in known.host:
            options.host[name] = value
        elif name in known.gateway:
            options.gateway[name] = value
        elif name in usable or name == "kind":
            options.environment[name] = value
        else:
            raise known.refuse(name, kind)
    structure_environment(options)
    structure_gateway(options)
    for owner in dict.fromkeys(owners[name] for name in options.host):
        build(
            owner,
            {name: options.host[name] for name in options.host if owners[name] is owner},
        )
    return options


def spread_if_needed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *config*, where options are written together each with a name of its own."""
    if "options" not in config and not isinstance(config.get("kind"), Environment):
        return config
    # Imported for those who write so.
    from fal_core.declaring.spreading import spread

    return spread(config)


def kind_of(environment: Mapping[str, Any]) -> str:
    """
    Return the kind of environment that its options declare or imply.

    Raises:
        OptionTypeError: The kind is not a string.
    """
    kind = environment.get("kind")
    if kind is None:
        return "container" if environment.get("image") is not None else DEFAULT_KIND
    if not isinstance(kind, str):
        from fal_core.conversion.mismatches import show

        raise OptionTypeError("kind", show(kind), "a string")
    return kind


def with_changes(
    options: Options, config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Return *options* as written, with *config* over them, and those kept for another kind.

    Raises:
        OptionError: The kind is unknown, or an option is written twice.
    """
    changes = _respell(spread_if_needed(config))
    kind = kind_of({**options.environment, **changes})
    usable = {*option_names(_find_environment(kind, changes)), "kind"}
    environment = {**options.kept, **options.environment}
    kept = {name: environment[name] for name in environment if name not in usable}
    declared = {name: environment[name] for name in environment if name in usable}
    if isinstance(config.get("kind"), Environment):
        # It replaces the environment; it does not change it.
        declared = {}
    host = dict(options.host)
    if any(name in changes for name in MACHINE_OPTIONS):
        # Either way of naming machine types replaces the other.
        for name in MACHINE_OPTIONS:
            host.pop(name, None)
    return {**host, **declared, **options.gateway, **changes}, kept


def structure_environment(options: Options, *, here: bool = True) -> Environment:
    """
    Return the environment that *options* declare.

    Arguments:
        here: Whether they were declared on this machine, so that requirements may name its
            files.

    Raises:
        OptionError: No installed plugin has its kind, or an option is wrong.
    """
    plugins = load_plugins()
    if not here:
        return _make_environment(options.environment)
    return _environments.get(options, options.environment, plugins, _build_environment)


def structure_host_options(options: Options, host: Host[..., Any]) -> HostOptions:
    """
    Return the options of *host*; options that only other hosts know are left out.

    Raises:
        OptionError: No host knows an option, or it has a wrong type.
    """
    return _host_options.get(options, options.host, host.options, _build_host_options)


def structure_gateway(options: Options) -> Gateway:
    """
    Return the options of the gateway.

    Raises:
        OptionError: It has no such option, or one has a wrong type.
    """
    return _gateways.get(options, options.gateway, Gateway, _build_gateway)


def unstructure_environment(environment: Environment) -> dict[str, Any]:
    """
    Return *environment* as values for JSON, its kind included.

    Raises:
        OptionTypeError: JSON cannot hold a value.
    """
    return unstructure(environment)


def restore_environment(travelled: Mapping[str, Any]) -> Environment:
    """
    Return the environment that :func:`unstructure_environment` wrote as *travelled*.

    Raises:
        OptionError: The kind is not installed here, or has other options.
    """
    options = {name: value for name, value in travelled.items() if name != "kind"}
    return restore(find_environment(kind_of(travelled)), options)


def unusable_options(options: Options, host: Host[..., Any]) -> tuple[str, ...]:
    """Return the names of the options that are set and that *host* does not act on."""
    usable = set(option_names(host.options))
    acted_on = host.capabilities.options
    if acted_on is not None:
        usable -= set(option_names(HostOptions)) - acted_on
        # Where a host has fewer, the core refuses the call.
        usable.add("nodes")
        if options.get_exposed_port() is None:
            # The core keeps it for calls.
            usable.add("request_timeout")
    return tuple(
        name for name, value in options.host.items() if value is not None and name not in usable
    )


# Typed values are made anew only when what the user wrote has changed.
_environments: TypedOptionsCache[Environment] = TypedOptionsCache()
_host_options: TypedOptionsCache[HostOptions] = TypedOptionsCache()
_gateways: TypedOptionsCache[Gateway] = TypedOptionsCache()


def _build_environment(written: Mapping[str, Any], _: object) -> Environment:
    return _make_environment(with_paths(written))


def _make_environment(written: Mapping[str, Any]) -> Environment:
    written = _respell(written)
    kind = kind_of(written)
    cls = _find_environment(kind, written)
    names = option_names(cls)
    for name in written:
        if name not in names and name != "kind":
            raise known_options().refuse(name, kind)
    return build(cls, {name: value for name, value in written.items() if name != "kind"})


def _find_environment(kind: str, written: Mapping[str, Any]) -> type[Environment]:
    """Return the class of *kind*; the error for an implied kind says what implied it."""
    try:
        return find_environment(kind)
    except UnknownNameError as error:
        if kind == DEFAULT_KIND or written.get("kind") is not None:
            raise
        hint = f"Option 'image' implies this kind. {error.hint}".rstrip()
        raise with_facts(error, hint=hint) from None


def _build_host_options(written: Mapping[str, Any], cls: type[HostOptions]) -> HostOptions:
    known, names = known_options(), option_names(cls)
    for name in written:
        if name not in names and name not in known.host:
            raise UnknownOptionError(name, nearest_name(name, (known.host,)))
    return build(cls, {name: value for name, value in written.items() if name in names})


def _build_gateway(written: Mapping[str, Any], cls: type[Gateway]) -> Gateway:
    names = option_names(cls)
    for name in written:
        if name not in names:
            raise UnknownOptionError(name, nearest_name(name, (names,)))
    return build(cls, written)


def _respell(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return *config* with the SDK's spellings replaced."""
    written: dict[str, Any] = {}
    for name, value in config.items():
        plain = SPELLINGS.get(name, name)
        if plain in written or (plain != name and plain in config):
            raise OptionError(
                f"Options {plain!r} and {name!r} are the same option. Write one of them."
            )
        written[plain] = value
    return written
