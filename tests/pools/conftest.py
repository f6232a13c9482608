"""Fixtures of the tests of pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fal_host_local import LocalHost


@pytest.fixture
def host() -> Iterator[LocalHost]:
    """A host of the test's own, which stands on pools."""
    host = LocalHost()
    yield host
    host.close()
