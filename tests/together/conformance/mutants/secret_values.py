"""Hosts that break the laws of secrets."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.events import Event, Log, State
from mutants.wrappers import Broken, Passing, wrapped


def hides_secrets(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function no secrets."""

    def run(*args: Any, **kwargs: Any) -> Any:
        import os

        os.environ.pop("FAL_CORE_LAW_SECRET", None)
        return function(*args, **kwargs)

    return run


@attrs.define(eq=False, slots=False)
class SharesSecrets(Broken):
    """Leaves the secrets of a function to the next one."""

    left: dict[str, str] = attrs.field(factory=dict)

    def change(self, call: Call) -> Call:
        names = call.host_options.secrets or ()
        left, self.left = self.left, {name: os.environ.get(name, "") for name in names}
        return call if names or not left else wrapped(call, partial(finds, left))


def finds(secrets: dict[str, str], function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function the secrets of another."""

    def run(*args: Any, **kwargs: Any) -> Any:
        import os

        os.environ.update(secrets)
        try:
            return function(*args, **kwargs)
        finally:
            for name in secrets:
                os.environ.pop(name)

    return run


class TellsSecrets(Broken):
    """Logs the secrets that it gives to a function."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if event == State("running"):
            for name in passing.call.host_options.secrets or ():
                message = f"{name} is {os.environ.get(name)}"
                passing.send_on(Log(message, "DEBUG", "BRIDGE"))


class ForgivesSecrets(Broken):
    """Starts functions whose secrets are not set."""

    def change(self, call: Call) -> Call:
        names = tuple(name for name in call.host_options.secrets or () if name in os.environ)
        options = attrs.evolve(call.host_options, secrets=names or None)
        return attrs.evolve(call, host_options=options)
