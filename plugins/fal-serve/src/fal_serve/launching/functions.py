"""Applications as isolated functions. It is not imported where a service runs."""

from __future__ import annotations

import functools
from typing import Any

from fal_core import Host, ServedIsolatedFunction
from fal_core.calls import AuthMode
from fal_core.conversion import structure
from fal_core.declaring import (
    check_machine_types,
    default_host,
    parse_options,
    to_host,
    with_script,
)
from fal_core.errors import OptionError
from fal_core.options import HostOptions
from fal_core.sealing import check_local_modules
from fal_serve.declaring.options import ApplicationDeclaration
from fal_serve.declaring.settings import (
    ServiceSettings,
    WrongLimit,
    apply_limit_variables,
    wants_cors,
    wants_playground,
)


def settings_of(options: HostOptions) -> ServiceSettings:
    """
    Return the settings of a server from *options* and the variables of this process.

    Raises:
        OptionError: A variable for a limit is not a number.
    """
    settings = ServiceSettings(
        request_timeout=options.request_timeout,
        startup_timeout=options.startup_timeout,
        termination_grace=options.termination_grace_period_seconds,
        max_multiplexing=options.max_multiplexing,
        metrics_port=options.metrics_port,
        playground=wants_playground(),
        cors=wants_cors(),
    )
    try:
        return apply_limit_variables(settings)
    except WrongLimit as error:
        raise OptionError(str(error)) from None


def check_application(declared: ApplicationDeclaration) -> None:
    """
    Check what a class has declared about where it runs.

    Raises:
        OptionError: It is invalid.
    """
    parse_options(with_script({**declared.options, "serve": True}, declared.served))
    check_local_modules(declared.local_python_modules)
    structure(declared.app_name, str | None, "app_name")
    structure(declared.app_auth, AuthMode | None, "app_auth")


def to_function(
    declared: ApplicationDeclaration,
    host: Host[Any, Any] | str | None,
    overrides: dict[str, Any],
) -> ServedIsolatedFunction[[], None]:
    """
    Return the class of *declared* as an isolated function.

    Arguments:
        overrides: Options that replace those declared.
    """
    target = default_host() if host is None else to_host(host)
    written = {**declared.options, **overrides, "serve": True}
    options = target.parse_options(**with_script(written, declared.served))
    check_machine_types(options, target)
    function: ServedIsolatedFunction[[], None] = ServedIsolatedFunction(
        target,
        declared.served,
        options,
        app_name=declared.app_name,
        app_auth=declared.app_auth,
        local_python_modules=tuple(check_local_modules(declared.local_python_modules)),
    )
    functools.update_wrapper(function, declared.served, updated=())
    return function
