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
def test_error_for_a_missing_part_names_the_usable_ones(name: str) -> None:
    """
    Using a part of an isolated function that only the caller's process has is an error in
    a worker, which says what can be used there.
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
