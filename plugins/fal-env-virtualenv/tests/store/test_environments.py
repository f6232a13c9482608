"""Build records, and the marks inside environments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.environments import (
    STORE,
    BuildRecord,
    find_fault,
    read_record,
    record_path,
    write_record,
)
from fal_uv.requirements.pythons import Python

if TYPE_CHECKING:
    from conftest import Builder

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
    """A record that is read again is equal, and names the same directory."""
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
def test_unreadable_record_counts_as_missing(cache: Path, text: str) -> None:
    """A damaged record counts as missing."""
    path = Path(record_path("k"))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert read_record("k") is None


def test_environment_is_complete_once_it_is_marked(build: Builder) -> None:
    """A fault is found until the mark is written, and if it is that of another environment."""
    environment = Virtualenv(requirements=["gamma"])
    build(environment)
    record = read_record(environment.key)
    assert record is not None
    assert find_fault(record) is None
    os.unlink(os.path.join(record.path, ".fal-core-complete"))
    assert find_fault(record) == "its build never finished"
    marker = Path(record.path, ".fal-core-complete")
    marker.write_text("another")
    assert find_fault(record) == "its marker names another one"
    marker.write_text(record.digest)
    assert find_fault(record) is None


def test_everything_is_below_one_directory(cache: Path) -> None:
    """Records and locks are kept by key, below the directory of this plugin."""
    assert STORE.root == str(cache)
    assert record_path("key") == f"{cache}/keys/key.json"
    assert STORE.lock_path("key") == f"{cache}/locks/key.lock"
    STORE.make_directories()
    assert Path(record_path("key")).parent.is_dir()
    assert Path(STORE.lock_path("key")).parent.is_dir()
