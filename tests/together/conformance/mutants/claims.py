"""Hosts that claim capabilities that they do not have."""

from __future__ import annotations

from typing import Any

import attrs

from fal_core.abilities import MeasuringHost, TunnellingHost
from fal_core.calls import Call
from mutants.serving import is_service
from mutants.wrappers import Broken


class ClaimsUnknownOptions(Broken):
    """Says that it acts on an option that there is not."""

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        claimed: Any = self.inner.capabilities
        return attrs.evolve(claimed, options=claimed.options | {"bogus_option"})


class ClaimsSecretsByName(Broken):
    """Says that it acts on secrets, and that it has none."""

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        return attrs.evolve(self.inner.capabilities, secrets=False)


class SharesNoOption(Broken):
    """Says that it runs several calls in one worker, and not by which option."""

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        claimed: Any = self.inner.capabilities
        return attrs.evolve(claimed, options=claimed.options - {"max_multiplexing"})


class DetachesUnsaid(Broken):
    """Detaches work, and says that it does not."""

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        return attrs.evolve(self.inner.capabilities, detach=False)


class AnswersWithItself(Broken):
    """Answers with itself where it is asked for an ability that it does not have."""

    def ability(self, kind: type[Any]) -> Any:
        return self if kind is TunnellingHost else super().ability(kind)


class ForgetsAbilities(Broken):
    """Measures the first time that it is asked."""

    def ability(self, kind: type[Any]) -> Any:
        if kind is not MeasuringHost:
            return super().ability(kind)
        found, self.__dict__["found"] = (
            self.__dict__.get("found", self.inner.ability(kind)),
            None,
        )
        return found


class IgnoresStartupTimeout(Broken):
    """Waits for ever until a worker is ready, but not for services."""

    def change(self, call: Call) -> Call:
        if is_service(call):
            return call
        options = attrs.evolve(call.host_options, startup_timeout=None)
        return attrs.evolve(call, host_options=options)


class RunsMoreThanItMay(Broken):
    """Runs several calls at once where one may run."""

    def change(self, call: Call) -> Call:
        options = call.host_options
        if options.max_concurrency == 1 and not options.max_multiplexing:
            options = attrs.evolve(options, max_concurrency=4, scaling_delay=0)
        return attrs.evolve(call, host_options=options)
