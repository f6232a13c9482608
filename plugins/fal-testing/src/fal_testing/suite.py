"""
Every law, for the test file of a host to import.

The file defines the fixture ``host``, of scope ``session``, and may define others:
``kind`` and ``kind_options``, the environment of the laws' functions; ``law_timeout``,
for a slow host; ``requirement``, ``secret`` and ``host_url``; ``host_program``, which
makes the host in another process where no name or URL does; ``make_host``, which makes a
second host where a copy of its attrs fields is none; ``lose_place``, which takes the place of
a running call away, as a machine without power is.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("fal_testing.laws")

from fal_testing import fixtures  # noqa: E402  # their asserts are rewritten
from fal_testing.laws.calling import (  # noqa: E402  # their asserts are rewritten
    calls,
    coroutines,
    futures,
    groups,
    home_calls,
    maps,
    streams,
)
from fal_testing.laws.declaring import (  # noqa: E402  # their asserts are rewritten
    claims,
    environments,
    interpreters,
    options,
    secret_values,
)
from fal_testing.laws.endings import (  # noqa: E402  # their asserts are rewritten
    cancels,
    crashes,
    exits,
    timeouts,
)
from fal_testing.laws.results import (  # noqa: E402  # their asserts are rewritten
    events,
    forks,
    logs,
    observers,
    raised,
    values,
)
from fal_testing.laws.services import (  # noqa: E402  # their asserts are rewritten
    detachment,
    servers,
    serving,
)
from fal_testing.laws.workers import (  # noqa: E402  # their asserts are rewritten
    builds,
    multiplexing,
    places,
    warmth,
)

#: The laws, by group.
GROUPS = {
    "call": calls,
    "values": values,
    "forks": forks,
    "errors": raised,
    "logs": logs,
    "events": events,
    "futures": futures,
    "exits": exits,
    "places": places,
    "map": maps,
    "stream": streams,
    "async": coroutines,
    "cancel": cancels,
    "timeout": timeouts,
    "keep-alive": warmth,
    "multiplex": multiplexing,
    "crash": crashes,
    "environment": environments,
    "interpreter": interpreters,
    "builds": builds,
    "options": options,
    "claims": claims,
    "secrets": secret_values,
    "home calls": home_calls,
    "groups": groups,
    "observers": observers,
    "detach": detachment,
    "serve": serving,
    "own servers": servers,
}

_FIXTURES = (
    "_checks_every_event",
    "_ends_by_itself",
    "_only_for_capable_hosts",
    "follow",
    "isolated",
    "kind",
    "kind_options",
    "law_timeout",
    "marks",
    "served",
    "watched",
)
_exported = {name: getattr(fixtures, name) for name in _FIXTURES}
for _group in GROUPS.values():
    _exported |= {
        name: value for name, value in vars(_group).items() if name.startswith("test_")
    }
_exported |= {
    "requirement": environments.requirement,
    "virtual": environments.virtual,
    "counted": builds.counted,
    "in_counted": builds.in_counted,
    "launched": interpreters.launched,
    "through": interpreters.through,
    "secret": secret_values.secret,
    "detach": detachment.detach,
    "host_url": detachment.host_url,
    "host_program": exits.host_program,
    "failing_observer": observers.failing_observer,
    "taking_away": crashes.taking_away,
    "make_host": places.make_host,
    "another_host": places.another_host,
}
globals().update(_exported)

#: Tells at the end of a run which laws were not checked.
pytest_plugins: list[str] = ["fal_testing.harness.unchecked"]

__all__ = [*_exported, "pytest_plugins"]
