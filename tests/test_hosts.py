"""Capabilities: what a host claims."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.errors import OptionTypeError, UnsupportedError
from fal_core.hosts import Capabilities, Host
from fal_testing import InProcessHost


@attrs.define(eq=False, slots=False)
class Modest(Host[..., Any]):
    """A host that claims nothing."""

    name: ClassVar[str] = "modest"

    def launch(self, call: Any, sink: Any) -> Any:
        raise AssertionError(call, sink)


def test_nothing_is_claimed_by_default() -> None:
    """``Capabilities()`` claims no kind, no option and no ability."""
    claimed = attrs.asdict(Capabilities())
    assert claimed.pop("concurrency") == claimed.pop("nodes") == 1
    assert claimed.pop("python_versions") is None
    assert claimed.pop("kinds") == claimed.pop("options") == frozenset()
    assert not any(claimed.values())


def test_a_host_that_claims_no_kind_says_what_its_author_left_out() -> None:
    """A call on a host without claims is refused with what to write."""

    @function("current", host=Modest())
    def give() -> int:
        return 1

    with pytest.raises(UnsupportedError, match="claim no kind: they say kinds=None where"):
        give()


def test_a_host_of_workers_claims_what_workers_keep() -> None:
    """``of_workers`` claims what a worker does by itself, and the host's own beside it."""
    claimed = Capabilities.of_workers(kinds=None, options=frozenset({"keep_alive"}))
    assert claimed == Capabilities(
        kinds=None,
        options=frozenset({"keep_alive", "setup_function"}),
        stream=True,
        batch=True,
        cancel=True,
        crash=True,
        home_calls=True,
    )
    assert Capabilities.of_workers().options == {"setup_function"}
    assert Capabilities.of_workers(options=None).options is None
    assert not Capabilities.of_workers(home_calls=False).home_calls


@pytest.mark.parametrize("make", [Capabilities, Capabilities.of_workers])
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kinds", "current", "a frozenset of names, as in frozenset({'…'}), or None"),
        ("options", "keep_alive", "a frozenset of names, as in frozenset({'…'}), or None"),
        ("options", frozenset({1}), "a frozenset of names, as in frozenset({'…'}), or None"),
        ("python_versions", "3.11", "a tuple of versions, as in ('3.11',), or None"),
        ("concurrency", "4", "an integer"),
        ("nodes", None, "an integer"),
        ("stream", "no", "True or False"),
    ],
)
def test_a_claim_of_another_type_is_refused(
    make: Any, field: str, value: Any, said: str
) -> None:
    """The error names the field: a text would pass for a set of names."""
    with pytest.raises(OptionTypeError) as caught:
        make(**{field: value})
    assert str(caught.value).startswith(f"Option 'capabilities.{field}' must be {said}, not ")


def test_a_host_of_two_hosts_claims_what_both_can() -> None:
    """``both`` is the lesser of each claim; None stands for everything."""
    one = Capabilities.of_workers(
        kinds=None,
        python_versions=("3.11", "3.12.1"),
        options=frozenset({"keep_alive", "secrets"}),
        concurrency=8,
        secrets=True,
        serve=True,
    )
    other = Capabilities(
        kinds=frozenset({"current"}),
        python_versions=("3.11.4", "3.12"),
        options=frozenset({"secrets"}),
        concurrency=3,
        secrets=True,
        batch=True,
    )
    both = Capabilities(
        kinds=frozenset({"current"}),
        python_versions=("3.12.1", "3.11.4"),
        options=frozenset({"secrets"}),
        concurrency=3,
        secrets=True,
        batch=True,
    )
    assert Capabilities.both(one, other) == both
    assert Capabilities.both(one, one) == one
    # A set and a list are the frozen ones of them.
    kinds, versions = {"current", "mine"}, ["3.11", "3.12"]
    loose = Capabilities(kinds=kinds, python_versions=versions)  # type: ignore[arg-type]  # taken
    assert Capabilities.both(loose, other).kinds == frozenset({"current"})
    assert Capabilities.both(loose, other).python_versions == ("3.12", "3.11.4")
    assert hash(loose) == hash(Capabilities.both(loose, loose))
    assert Capabilities.both(one, Capabilities()).options == frozenset()
    reference = InProcessHost.capabilities
    assert Capabilities.both(reference, reference) == reference
