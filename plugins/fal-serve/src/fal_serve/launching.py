"""
The launching side: what needs fal_core, and is not imported where a service runs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from fal_core import Host, ServedIsolatedFunction
from fal_core.calls import AuthMode
from fal_core.conversion.structuring import structure
from fal_core.declaring.named_hosts import default_host, to_host
from fal_core.declaring.vocabulary import parse_options
from fal_core.errors import OptionError
from fal_core.options import HostOptions
from fal_core.sealing.sources import check_local_modules
from fal_serve.settings import Settings, WrongLimit, wants_playground, with_own_limits

if TYPE_CHECKING:
    from fal_serve.apps import App


def settings_of(options: HostOptions) -> Settings:
    """
    Return what *options* say to a server, and the variables of this process.

    Raises:
        OptionError: A variable that is a limit is no number.
    """
    settings = Settings(
        request_timeout=options.request_timeout,
        startup_timeout=options.startup_timeout,
        termination_grace=options.termination_grace_period_seconds,
        max_multiplexing=options.max_multiplexing,
        metrics_port=options.metrics_port,
        playground=wants_playground(),
    )
    try:
        return with_own_limits(settings)
    except WrongLimit as error:
        raise OptionError(str(error)) from None


def check_application(cls: type[App]) -> None:
    """
    Check what *cls* says about where it runs.

    Raises:
        OptionError: Something of it is wrong.
    """
    parse_options(options_of(cls))
    check_local_modules(cls.local_python_modules)
    structure(cls.app_name, str | None, "app_name")
    structure(cls.app_auth, AuthMode | None, "app_auth")


def options_of(cls: type[App], **config: Any) -> dict[str, Any]:
    """
    Return the options of *cls* as ``fal_core.function`` takes them, *config* over them.
    """
    return {**cls.host_kwargs, **config, "serve": True}


def to_function(
    cls: type[App], host: Host[Any, Any] | str | None, config: dict[str, Any]
) -> ServedIsolatedFunction[[], None]:
    """
    Return *cls* as an isolated function.
    """
    place = default_host() if host is None else to_host(host)
    function: ServedIsolatedFunction[[], None] = ServedIsolatedFunction(
        place,
        cls,  # type: ignore[arg-type]  # A class, which nobody calls with arguments.
        place.parse_options(**options_of(cls, **config)),
        app_name=cls.app_name,
        app_auth=cls.app_auth,
        local_python_modules=tuple(check_local_modules(cls.local_python_modules)),
    )
    functools.update_wrapper(function, cls, updated=())
    return function
