"""The laws of groups on a host whose nodes are processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from process_groups import ProcessGroupHost

from fal_testing import suite
from fal_testing.laws.calling.groups import *  # noqa: F403  # every law of groups

globals().update(
    {name: getattr(suite, name) for name in suite.__all__ if not name.startswith("test_")}
)


@pytest.fixture(scope="session")
def host() -> Iterator[ProcessGroupHost]:
    host = ProcessGroupHost()
    yield host
    host.close()
