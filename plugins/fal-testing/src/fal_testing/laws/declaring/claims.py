"""Laws of claims: a host does what its capabilities say, and they do not contradict each other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs

from fal_core.abilities import (
    AnticipatingHost,
    ConditionalHost,
    DetachingHost,
    EnforcingHost,
    IsolatingHost,
    MeasuringHost,
    TunnellingHost,
)
from fal_core.capacities import CountingHost
from fal_core.claims import ClaimedHost
from fal_core.errors import HostError
from fal_core.hosts import Host
from fal_core.options import HostOptions
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect_error
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow
from fal_testing.hosts.watched import WatchedHost

_ABILITIES: tuple[type[Any], ...] = (
    AnticipatingHost,
    ClaimedHost,
    ConditionalHost,
    CountingHost,
    DetachingHost,
    EnforcingHost,
    IsolatingHost,
    MeasuringHost,
    TunnellingHost,
)

#: Options that have no effect without one of these capabilities.
_NEEDS = {
    "keep_alive": ("keep_alive",),
    "max_multiplexing": ("multiplex", "serve"),
    "secrets": ("secrets",),
}
#: Capabilities that nobody can use without this option.
_USED_BY = {"multiplex": "max_multiplexing", "secrets": "secrets"}


def test_the_options_it_acts_on_are_documented(host: Host[..., Any]) -> None:
    """``capabilities.options`` names only documented options."""
    claimed = host.capabilities.options or frozenset()
    unknown = sorted(claimed.difference(attrs.fields_dict(HostOptions)))
    assert unknown == [], (
        f"No documented option is called {', '.join(unknown)}. Correct the name in "
        "capabilities.options; options of the host's own class need not be there."
    )


def test_options_and_capabilities_agree(host: Host[..., Any]) -> None:
    """An option is claimed with the capability that it needs, and the other way round."""
    capabilities = host.capabilities
    if capabilities.options is None:
        return  # It claims no option by name.
    for option, needed in _NEEDS.items():
        can = any(getattr(capabilities, capability) for capability in needed)
        assert can or option not in capabilities.options, (
            f"Option {option!r} is claimed without the capability {' or '.join(needed)}. "
            "Claim both, or neither."
        )
    for capability, option in _USED_BY.items():
        assert not getattr(capabilities, capability) or option in capabilities.options, (
            f"The capability {capability!r} is claimed without the option {option!r}. Claim "
            "both, or neither."
        )


def test_it_detaches_work_if_it_says_so(host: Host[..., Any]) -> None:
    """The capability ``detach`` is claimed by the hosts that have the ability, and no others."""
    claims, can = host.capabilities.detach, host.ability(DetachingHost) is not None
    assert claims == can, (
        f"Host {host.name!r} claims detach={claims}, and its ability(DetachingHost) says that "
        "it can."
        if can
        else f"Host {host.name!r} claims detach={claims}, and its "
        "ability(DetachingHost) is None. Derive the host from DetachingHost and claim detach, "
        "or neither."
    )


def test_a_host_around_it_has_its_abilities(host: Host[..., Any]) -> None:
    """A :class:`~fal_core.wrappers.WrapperHost` around it can do what it can, and no more."""
    around = WatchedHost(host)
    for kind in _ABILITIES:
        own, passed = host.ability(kind), around.ability(kind)
        assert own is None or isinstance(own, kind), (
            f"ability({kind.__name__}) is {own!r}. Return an object of that class, or None."
        )
        assert (own is None) == (passed is None), (
            f"Host {host.name!r} answers ability({kind.__name__}) with {own!r}, and a host "
            f"around it with {passed!r}. Answer alike whenever it is asked."
        )


@requires("option startup_timeout", "option setup_function")
def test_a_worker_that_is_not_ready_in_time_ends_its_call(
    isolated: Isolated, law_timeout: float
) -> None:
    """A setup that takes longer than ``startup_timeout`` is an error of the host."""
    seconds = 10 * law_timeout

    def load() -> None:
        import time

        time.sleep(seconds)

    @isolated(setup_function=load, startup_timeout=min(2.0, law_timeout / 4))
    def give(loaded: None) -> int:
        return 1

    look = (
        "End the calls that wait for a worker with an error that names startup_timeout, once "
        "its setup has not run in that time; or do not claim the option."
    )
    with expect_error(HostError, look, match="startup_timeout"):
        give()


@requires("option max_concurrency")
def test_no_more_calls_run_at_once_than_may(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """With ``max_concurrency=1`` one call begins when the other has ended."""

    @isolated(max_concurrency=1)
    def span(number: int) -> tuple[float, float]:
        import time

        began = time.time()
        time.sleep(0.3)  # Long enough to overlap, where calls run at once.
        return began, time.time()

    recorders = [follow(span, number) for number in range(3)]
    spans = sorted(recorder.result(law_timeout) for recorder in recorders)
    for (_, ended), (began, _) in pairwise(spans):
        assert ended <= began, (
            f"With max_concurrency=1 a call began {ended - began:.3f} s before another had "
            "ended. Start it once Exited of the other has come; or do not claim the option."
        )
