"""Serving: what the call of a served function runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from fal_core.declaring.declaration import Declaration
from fal_core.declaring.vocabulary import structure_gateway, structure_host_options
from fal_core.environments import Environment
from fal_core.errors import OptionError, UnsupportedError
from fal_core.options import requirement_name
from fal_core.plugins.installed import load_plugins
from fal_core.routes import RouteSignature
from fal_core_worker.serving.services import Server

__all__ = [
    "Server",
    "check_arguments",
    "extend_environment",
    "make_server",
    "missing_requirements",
    "refuse_call",
]


def make_server(declaration: Declaration) -> Callable[..., Any]:
    """
    Return a callable that serves the declared function until it is drained.

    Raises:
        UnsupportedError: No installed plugin serves functions.

        PluginError: The one that does has failed.
    """
    raw = declaration.raw_func
    if isinstance(raw, Server):
        return raw
    assert raw is not None
    server: Server | None = load_plugins().hooks.resolve(
        "fal_create_server",
        routes={RouteSignature("/"): raw},
        gateway=structure_gateway(declaration.options),
        options=structure_host_options(declaration.options, declaration.host),
    )
    if server is None:
        remedy = "Run `pip install 'fal-core[serve]'`."
        raise UnsupportedError(declaration.host.name, "serve functions", remedy)
    return server


def refuse_call(name: str, way: str) -> NoReturn:
    """
    Refuse *way* of calling the served function *name*.

    Raises:
        OptionError: Always.
    """
    raise OptionError(
        f"{name!r} is served: it takes requests, and cannot be used with {way}. Start it with "
        f"'service = {name}.spawn()' and send its arguments to service.urls['run'], or leave "
        "serve=True out."
    )


def check_arguments(name: str, arguments: Any) -> None:
    """
    Refuse arguments for the start of the served function *name*, which takes none.

    Arguments:
        arguments: The positional and the keyword arguments.

    Raises:
        OptionError: There are some.
    """
    if arguments != ((), {}):
        refuse_call(name, "arguments")


def extend_environment(environment: Environment, server: Server) -> Environment:
    """Return *environment* with what *server* needs, where it does not ask for it itself."""
    missing = missing_requirements(environment, server)
    return environment.extend(missing) if missing else environment


def missing_requirements(environment: Environment, server: Server) -> tuple[str, ...]:
    """Return what *server* needs and *environment* does not ask for."""
    asked = set()
    for entry in getattr(environment, "requirements", None) or ():
        for requirement in (entry,) if isinstance(entry, str) else entry:
            asked.add(requirement_name(requirement))
    return tuple(each for each in server.requirements if requirement_name(each) not in asked)
