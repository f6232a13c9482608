"""
Every law of kinds of environment, for the test file of a kind to import.

The file defines two fixtures: ``unbuilt``, an environment of the kind that nobody has built
yet, and ``unsolvable``, one that cannot be built. It may define ``law_timeout``, for a slow
builder. Each law has an empty cache of its own, where a ``DirectoryStore`` has built nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("fal_testing.laws")

from fal_testing.harness.deadlines import deadline  # noqa: E402  # asserts are rewritten
from fal_testing.laws.kinds import (  # noqa: E402  # their asserts are rewritten
    builds,
    declarations,
    processes,
)

#: The laws, by group.
KIND_GROUPS = {"declarations": declarations, "builds": builds, "processes": processes}

#: The fixtures that make a test a law of kinds.
_ASKED = {"unbuilt", "unsolvable"}

#: Seconds that a law may take in all, in units of ``law_timeout``.
_LAW = 4.0


@pytest.fixture(scope="session")
def law_timeout() -> float:
    """Seconds to wait for a build before a law counts it as missing."""
    return 60.0


@pytest.fixture(autouse=True)
def _cache_of_a_law(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if _ASKED.isdisjoint(request.fixturenames):
        # A test of the same file that is no law.
        return
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _law_ends_by_itself(request: pytest.FixtureRequest) -> Iterator[None]:
    if _ASKED.isdisjoint(request.fixturenames):
        yield
        return
    seconds = _LAW * float(request.getfixturevalue("law_timeout"))
    with deadline(seconds, f"Law {request.node.name!r}"):
        yield


_exported = {
    "_cache_of_a_law": _cache_of_a_law,
    "_law_ends_by_itself": _law_ends_by_itself,
    "law_folder": processes.law_folder,
    "law_timeout": law_timeout,
}
for _group in KIND_GROUPS.values():
    _exported |= {
        name: value for name, value in vars(_group).items() if name.startswith("test_")
    }
globals().update(_exported)

__all__ = list(_exported)
