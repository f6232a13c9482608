"""The tests of sessions share the module ``realtime_examples``, and its service."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def served(serve: Callable[[Any], Any]) -> Any:
    """The service of the example."""
    from realtime_examples import Realtime

    return serve(Realtime)


@pytest.fixture
def dial(served: Any) -> Callable[[str], AbstractContextManager[ClientConnection]]:
    """Connect to a path of the service."""
    url = served.url.replace("http://", "ws://")
    return lambda path: connect(url + path, max_size=None)
