"""Options, and merging them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.errors import OptionTypeError, PluginError
from fal_core.options import HostOptions, Options, merge_basic_config

names = st.sampled_from(["machine_type", "keep_alive", "regions", "metadata", "_base_image"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(), each, max_size=2),
    max_leaves=4,
)
written = st.dictionaries(names, values)


@given(written, written)
def test_merging_fills_only_missing_values(
    target: dict[str, Any], incoming: dict[str, Any]
) -> None:
    """Merging keeps every value there is, None among them, and takes over the others."""
    expected = {**incoming, **target}
    merge_basic_config(target, incoming)
    assert target == expected


def test_added_requirements_are_a_list() -> None:
    """One requirement alone is refused, as it is in the declaration; any iterable is taken."""
    options = Options(environment={"kind": "virtualenv", "requirements": ["six"]})
    with pytest.raises(OptionTypeError, match="'numpy' \\(str\\)"):
        options.add_requirements("numpy")  # type: ignore[arg-type]  # wrong on purpose
    assert options.environment["requirements"] == ["six"]
    options.add_requirements(name for name in ("six", "numpy"))  # type: ignore[arg-type]
    assert options.environment["requirements"] == ["six", "numpy"]


@attrs.frozen(kw_only=True)
class QueueOptions(HostOptions):
    """Options of a host's own."""

    queue: str | None = None


@attrs.frozen
class Asked:
    """What has options, as a call does."""

    host_options: HostOptions


def test_own_options_are_read_without_a_cast() -> None:
    """``of`` returns the options of a call as the class that its host declares."""
    given = QueueOptions(queue="long")
    assert QueueOptions.of(Asked(given)) is given
    assert QueueOptions.of(Asked(given)).queue == "long"
    assert HostOptions.of(Asked(given)) is given
    assert QueueOptions.of(given) is given


def test_options_that_the_host_does_not_declare_are_told() -> None:
    """A call whose host declares other options is an error that says what to write."""
    with pytest.raises(PluginError, match="the call has HostOptions") as caught:
        QueueOptions.of(Asked(HostOptions()))
    assert str(caught.value).startswith("Class 'QueueOptions': ")
    assert "'options: ClassVar[type[HostOptions]] = QueueOptions'" in str(caught.value)
