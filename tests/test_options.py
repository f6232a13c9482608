"""
Options, and merging them.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.errors import OptionTypeError
from fal_core.options import Options, merge_basic_config

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
    """
    Merging keeps every value there is, None among them, and takes over the others.
    """
    expected = {**incoming, **target}
    merge_basic_config(target, incoming)
    assert target == expected


def test_added_requirements_are_a_list() -> None:
    """
    One requirement alone is refused, as it is in the declaration; any iterable is taken.
    """
    options = Options(environment={"kind": "virtualenv", "requirements": ["six"]})
    with pytest.raises(OptionTypeError, match="'numpy' \\(str\\)"):
        options.add_requirements("numpy")  # type: ignore[arg-type]  # wrong on purpose
    assert options.environment["requirements"] == ["six"]
    options.add_requirements(name for name in ("six", "numpy"))  # type: ignore[arg-type]
    assert options.environment["requirements"] == ["six", "numpy"]
