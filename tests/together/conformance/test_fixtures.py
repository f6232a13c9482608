"""
The fixtures of the conformance suite skip what cannot be checked, and say why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from threading import Event
from typing import Any, ClassVar

import attrs
from runner import run_laws

from fal_core.environments import Environment, Interpreter, LocalInterpreter
from fal_core.errors import OptionError
from fal_core.events import LogSink
from fal_core.hooks import hookimpl
from fal_core.plugins.installed import registered
from fal_host_local import LocalHost


@attrs.frozen(kw_only=True)
class Bare(Environment):
    """
    This Python, to which nothing can be added.
    """

    kind: ClassVar[str] = "bare"
    key: ClassVar[str] = "bare"  # there is one of them

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return LocalInterpreter(sys.executable)

    def extend(self, requirements: Iterable[str]) -> Any:
        raise OptionError(f"Kind 'bare' takes no requirements: {', '.join(requirements)}.")


class BarePlugin:
    """
    A plugin with that kind of environment.
    """

    fal_core_api = 1

    @hookimpl
    def fal_register_environments(self) -> Iterable[type[Environment]]:
        return [Bare]


class BareHost(LocalHost):
    """
    A host that runs nothing else.
    """

    capabilities = attrs.evolve(LocalHost.capabilities, kinds=frozenset({"bare"}))


def test_nothing_is_served_in_a_kind_that_takes_no_requirements() -> None:
    """
    Laws of served functions are skipped where the server cannot be put into the environment,
    and others are not.
    """
    served, other = "test_a_served_function_answers_at_its_url", "test_a_result_comes_back"
    host = BareHost()
    try:
        with registered(BarePlugin()):
            assert run_laws(host, [served, other]) == {served: "skipped", other: "passed"}
    finally:
        host.close()
