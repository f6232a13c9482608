"""
Specs: what a request asks to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fal_server.callers import Caller
from fal_server.declarations import read_environment, read_health_check
from fal_server.errors import Invalid
from fal_server.runners import RunnerSpec
from fal_server.urls import Urls

#: Seconds that a runner may take to end, where nothing is said.
GRACE = 5.0

#: The longest name of an application.
_LONGEST_NAME = 128


def read_spec(request: Any, caller: Caller) -> RunnerSpec:
    """
    Return what a run or a registration asks to run.

    Raises:
        Invalid: It asks for nothing, or for what this server does not have.
    """
    machine = request.machine_requirements
    kind = request.WhichOneof("callable")
    if kind is None:
        raise Invalid("A function or an entry point is needed, and none was sent.")
    has_setup = request.HasField("setup_func")
    if kind == "entrypoint" and has_setup:
        raise Invalid("A setup function goes with a function, not with an entry point.")
    grace, name = GRACE, "termination_grace_period_seconds"
    if name in request.DESCRIPTOR.fields_by_name and request.HasField(name):
        grace = float(request.termination_grace_period_seconds)
    types = list(machine.machine_types) or [machine.machine_type]
    return RunnerSpec(
        name=check_name(request.application_name or "function"),
        owner=caller.user_id,
        environment=read_environment(request.environments),
        method=request.function.method if kind == "function" else "",
        definition=request.function.definition if kind == "function" else b"",
        setup_method=request.setup_func.method if has_setup else "",
        setup_definition=request.setup_func.definition if has_setup else b"",
        entrypoint=request.entrypoint if kind == "entrypoint" else "",
        main_thread=(
            request.run_on_main_thread if request.HasField("run_on_main_thread") else None
        ),
        port=machine.exposed_port if machine.HasField("exposed_port") else None,
        health_check=read_health_check(request),
        startup_timeout=machine.startup_timeout
        if machine.HasField("startup_timeout")
        else None,
        grace=grace,
        machine_type=types[0],
    )


def _said(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def check_name(name: str) -> str:
    """
    Return *name*, if it can be the name of an application.

    Raises:
        Invalid: It cannot.
    """
    if len(name) > _LONGEST_NAME or not name or any(each in name for each in "/\\?#% \n\r\0"):
        raise Invalid(f"{name[:_LONGEST_NAME]!r} cannot be the name of an application.")
    return name


def variables_of_runner(
    spec: RunnerSpec, secrets: Mapping[str, str], urls: Urls
) -> dict[str, str]:
    """
    Return what a runner finds in its environment variables.
    """
    host = urls.base("api").partition("://")[2]
    own = {"IS_ISOLATE_AGENT": "1", "FAL_HOST": host, "FAL_APP_NAME": spec.application}
    return {**own, **secrets}
