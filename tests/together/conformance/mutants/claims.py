"""Hosts that claim capabilities that they do not have."""

from __future__ import annotations

from typing import Any

import attrs

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


class CannotDetach(Broken):
    """Says that it detaches work, and does not."""

    def ability(self, kind: type[Any]) -> Any:
        return None


class AnswersAnything(Broken):
    """Answers with itself, whatever it is asked for."""

    def ability(self, kind: type[Any]) -> Any:
        return self


class ForgetsAbilities(Broken):
    """Has abilities the first time that it is asked."""

    def ability(self, kind: type[Any]) -> Any:
        asked = self.__dict__.setdefault("asked", set())
        found = None if kind in asked else super().ability(kind)
        asked.add(kind)
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
