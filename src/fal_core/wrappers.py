"""Hosts around a host: how behaviour is added to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from fal_core.abilities import EnforcingHost, MeasuringHost
from fal_core.hosts import AbilityT, ArgsT, Capabilities, Host, ReturnT
from fal_core.options import Gateway, HostOptions

if TYPE_CHECKING:
    from fal_core.abilities import Usage
    from fal_core.environments import Environment


@attrs.define(eq=False, slots=False)
class WrapperHost(Host[ArgsT, ReturnT]):
    """
    A host around a host. A subclass names itself and writes ``launch``.

    It has the options, capabilities and abilities of *inner*, and passes everything but
    ``launch`` on to it. One that cannot keep an ability returns None for it.

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

    def ability(self, kind: type[AbilityT]) -> AbilityT | None:
        own = super().ability(kind)
        found = self.inner.ability(kind) if own is None else own
        # What is made of the inner host is to be inside of one like this.
        if isinstance(found, EnforcingHost) and kind is EnforcingHost:
            return _Enforcing(self, found)  # type: ignore[return-value]
        if isinstance(found, MeasuringHost) and kind is MeasuringHost:
            return _Measuring(self, found)  # type: ignore[return-value]
        return found

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        self.inner.check(environment, options, gateway, origin)

    def close(self) -> None:
        self.inner.close()


@attrs.frozen
class _Enforcing(EnforcingHost):
    wrapper: WrapperHost[..., Any]
    inner: EnforcingHost

    def enforcing(self) -> Host[Any, Any]:
        return attrs.evolve(self.wrapper, inner=self.inner.enforcing())


@attrs.frozen
class _Measuring(MeasuringHost):
    wrapper: WrapperHost[..., Any]
    inner: MeasuringHost

    def measuring(self) -> Host[Any, Any]:
        return attrs.evolve(self.wrapper, inner=self.inner.measuring())

    def read_usage(self) -> Usage:
        return self.inner.read_usage()
