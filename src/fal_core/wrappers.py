"""Hosts around a host: how behaviour is added to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from fal_core.abilities import (
    AnticipatingHost,
    ConditionalHost,
    DetachingHost,
    ExecutionStatus,
    detaching,
)
from fal_core.events import Sink
from fal_core.hosts import ArgsT, Capabilities, Execution, Host, ReturnT
from fal_core.options import Gateway, HostOptions

if TYPE_CHECKING:
    from fal_core.environments import Environment


@attrs.define(eq=False, slots=False)
class WrapperHost(Host[ArgsT, ReturnT], AnticipatingHost, ConditionalHost, DetachingHost):
    """
    A host around a host. A subclass names itself and writes ``launch``.

    It has the options and capabilities of *inner*, and passes everything but ``launch``
    on to it.

    Attributes:
        inner: The host that runs the calls. It is closed with this one.
    """

    inner: Host[ArgsT, ReturnT]

    @property
    # Those of the inner host, not of the class.
    def options(self) -> type[HostOptions]:  # type: ignore[override]
        return self.inner.options

    @property
    # Those of the inner host, not of the class.
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        return self.inner.capabilities

    def expect(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        if isinstance(self.inner, AnticipatingHost):
            self.inner.expect(environment, options, gateway, origin)

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        self.inner.check(environment, options, gateway, origin)

    def unmet(self, options: HostOptions, environment: Environment) -> Mapping[str, str]:
        if isinstance(self.inner, ConditionalHost):
            return self.inner.unmet(options, environment)
        return {}

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        return detaching(self.inner).attach(reference, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        return self.inner.executions() if isinstance(self.inner, DetachingHost) else ()

    def close(self) -> None:
        self.inner.close()
