"""Slots: functions of a worker, with the results of their setup functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core import function
from fal_host_local import LocalHost


def test_setup_runs_once_in_a_worker(local_host: LocalHost, tmp_path: Path):
    """``setup_function`` runs once per worker; its result is the first argument."""
    log = tmp_path / "log"

    def load() -> dict[str, int]:
        with open(log, "a") as file:
            file.write("loaded\n")
        return {"calls": 0}

    @function("current", host=local_host, setup_function=load)
    def count(state: dict[str, int], step: int) -> int:
        state["calls"] += step
        return state["calls"]

    assert [count(1), count(2), count(3)] == [1, 3, 6]
    assert log.read_text() == "loaded\n"


def test_a_setup_that_raises_is_the_error_of_the_call(local_host: LocalHost):
    """An exception of ``setup_function`` arrives unchanged."""

    def load() -> None:
        raise LookupError("no model")

    isolated = function("current", host=local_host, setup_function=load)(lambda state: 1)

    with pytest.raises(LookupError, match="no model"):
        isolated()
