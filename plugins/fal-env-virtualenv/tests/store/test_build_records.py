"""
Build records are read as they were written.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_env_virtualenv.requirements.pythons import Python
from fal_env_virtualenv.store.build_records import BuildRecord, read_record, write_record
from fal_env_virtualenv.store.layout import record_path

texts = st.lists(st.text(max_size=20), max_size=4).map(tuple)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=50,
)
@given(
    layers=st.lists(texts, max_size=3).map(tuple),
    pins=texts,
    packages=texts,
    created=st.floats(0, 1e10),
    compiled=st.booleans(),
    indexes=texts,
)
def test_record_is_read_as_it_was_written(
    cache: Path,
    layers: tuple[tuple[str, ...], ...],
    pins: tuple[str, ...],
    packages: tuple[str, ...],
    created: float,
    compiled: bool,
    indexes: tuple[str, ...],
) -> None:
    """
    A record that is read again is equal, and names the same directory.
    """
    record = BuildRecord(
        key="k",
        requirements=layers,
        python=Python(executable="/usr/bin/python3", version="3.11.7"),
        platform="linux",
        pins=pins,
        packages=packages,
        created=created,
        compile_bytecode=compiled,
        extra_index_urls=indexes,
    )
    write_record(record)
    again = read_record("k")
    assert again == record
    assert again.digest == record.digest


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 99}'])
def test_record_that_cannot_be_read_is_none(cache: Path, text: str) -> None:
    """
    A damaged record counts as none.
    """
    path = Path(record_path("k"))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert read_record("k") is None
