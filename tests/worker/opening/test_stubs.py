"""
Isolated functions that are used inside a worker.
"""

from __future__ import annotations

from typing import Any

import pytest

from fal_core import function
from fal_core.testing import InProcessHost


@pytest.mark.parametrize(
    "name", ["spawn", "on", "with_policy", "aio", "options", "func", "host"]
)
def test_what_a_worker_lacks_is_told_with_what_it_has(name: str) -> None:
    """
    What an isolated function has at home alone is an error in a worker that says what
    can be used there.
    """

    @function("current", host=InProcessHost())
    def inner(number: int) -> int:
        return number + 1

    @function("current", host=InProcessHost())
    def outer(name: str) -> Any:
        assert inner(1) == 2
        return getattr(inner, name)

    told = f"'inner' has no '{name}' in a worker: .* submit, map, stream and run_local"
    with pytest.raises(AttributeError, match=told):
        outer(name)
