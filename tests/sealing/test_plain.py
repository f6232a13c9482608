"""
Bytes of processes that are not trusted.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fal_core.events import Sealed
from fal_core.sealing import load_plain, open_plain
from fal_core_worker.opening.seals import PLAIN_PREFIX

VALUE = {"numbers": [1, 2.5], "text": "é", "bytes": b"\0", "pair": (None, True)}


def test_built_in_values_are_read() -> None:
    """
    Built-in values are unpickled, with the prefix of a sealed value and without.
    """
    data = pickle.dumps(VALUE, 5)
    assert load_plain(data) == VALUE
    assert open_plain(Sealed(PLAIN_PREFIX + data)) == VALUE


class Written:
    """
    Writes a file when it is unpickled.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self._path, "w")


def test_no_code_runs(tmp_path: Path) -> None:
    """
    A pickle that refers to a function is refused before the function runs.
    """
    path = tmp_path / "written"
    with pytest.raises(pickle.UnpicklingError, match=r"\.open is no plain value"):
        load_plain(pickle.dumps([Written(path)]))
    assert not path.exists()
