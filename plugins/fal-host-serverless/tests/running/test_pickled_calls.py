"""
Calls as pickles, and the results of agents.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.errors import InternalServerlessRunFailed
from fal_host_serverless.far_end import sent_calls
from fal_host_serverless.running import pickled_calls


def test_outcome_that_is_code_is_not_opened(tmp_path: Path):
    """
    The result of a run is never unpickled as code.
    """
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for value in (Evil(), (sent_calls.OUTCOME, 0, Evil(), []), "word", None):
        with pytest.raises(InternalServerlessRunFailed, match="no outcome"):
            pickled_calls.open_outcome(pickle.dumps(value))
    assert not (tmp_path / "ran").exists()


def test_deployed_pickle_needs_nothing_of_ours(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    The pickle of a registration refers to built-in names alone.
    """
    asking.deploy("searching.py::double")
    definition = recorder.last("RegisterApplication").function.definition

    class Naming(pickle.Unpickler):
        names: list[str] = []

        def find_class(self, module: str, name: str) -> Any:
            self.names.append(f"{module}.{name}")
            return super().find_class(module, name)

    opened = Naming(io.BytesIO(definition)).load()
    assert Naming.names == ["builtins.eval"]
    assert opened._run_on_main_thread is True
