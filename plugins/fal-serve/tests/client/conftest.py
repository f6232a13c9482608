"""The tests of clients share the module ``client_examples``, and a client of its service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_serve import AppClient

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def client() -> Iterator[AppClient]:
    """A client of a running service."""
    from client_examples import Everything

    with AppClient.connect(Everything) as client:
        yield client
