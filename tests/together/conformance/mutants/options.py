"""Hosts that break the laws of options and environments."""

from __future__ import annotations

from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.environments import CurrentEnvironment
from fal_core.errors import OptionTypeError, UnknownOptionError, UnsupportedError
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_core.machines import refuse_machine
from fal_core.options import Options
from fal_host_local import LocalHost
from mutants.wrappers import Broken


class DropsOptions(Broken):
    """Keeps the options that it knows."""

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        config.pop("metadata", None)
        return LocalHost.parse_options(**config)


class RefusesOptions(Broken):
    """Refuses options that it does not know."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.host_options.metadata:
            raise UnsupportedError("local", "use option 'metadata'")
        return super().launch(call, sink)


class BelievesNames(Broken):
    """Takes options that there are not for those of another host."""

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        try:
            return LocalHost.parse_options(**config)
        except UnknownOptionError:
            return Options(environment={"kind": config.get("kind", "current")})


class BelievesTypes(Broken):
    """Accepts options of any type."""

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        try:
            return LocalHost.parse_options(**config)
        except OptionTypeError:
            return Options(environment={"kind": config.get("kind", "current")})


class LeavesMachinesOut(Broken):
    """Forgets machine types that nobody knows."""

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        named = config.get("machine_type")
        if isinstance(named, str) and refuse_machine(named):
            del config["machine_type"]
        return LocalHost.parse_options(**config)


class RunsItself(Broken):
    """Overrides ``run``, and drops the keyword arguments."""

    def run(self, func: Any, options: Any, args: Any, kwargs: Any, *more: Any) -> Any:
        return super().run(func, options, args, {}, *more)


class IgnoresEnvironments(Broken):
    """Runs everything in the Python that is there."""

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, environment=CurrentEnvironment())
