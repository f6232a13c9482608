"""The plugin through which fal-core finds this server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fal_core.hooks import hookimpl

if TYPE_CHECKING:
    from fal_core import RouteSignature
    from fal_core.options import HostOptions
    from fal_core.routes import Server

fal_core_api = 1


@hookimpl
def fal_create_server(
    routes: Mapping[RouteSignature, Callable[..., Any]], options: HostOptions
) -> Server:
    """Return a server for a function, or for a class of servables."""
    from fal_serve.launching.functions import settings_of
    from fal_serve.servables import check_servable, make_servable
    from fal_serve.serving.servable_servers import ServableServer

    (func,) = routes.values()
    check_servable(func)
    return ServableServer(func, make_servable, settings_of(options))
