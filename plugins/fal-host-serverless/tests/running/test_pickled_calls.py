"""Calls as pickles, and the results of agents."""

from __future__ import annotations

import inspect
import io
import os
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core import function
from fal_core.options import Gateway
from fal_core_worker.serving.services import SOCKET_MARK
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.errors import InternalServerlessRunFailed
from fal_host_serverless.far_end import sent_calls
from fal_host_serverless.running import pickled_calls
from fal_testing import InProcessHost


def test_outcome_that_is_code_is_not_opened(tmp_path: Path):
    """The result of a run is never unpickled as code."""
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
    """The pickle of a registration refers to built-in names alone."""
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


@pytest.mark.parametrize("takes_socket", [False, True])
def test_call_says_where_it_may_listen(takes_socket: bool):
    """
    A service takes ports, and the directory of a Unix socket where its server can listen
    there; the pickle says so, for whoever does not open it.
    """
    isolated = function("current", host=InProcessHost())(lambda: None)
    call = isolated.make_launcher().call(((), {}))
    served = attrs.evolve(call, gateway=Gateway(serve=True), takes_socket=takes_socket)
    definition = pickled_calls.seal(served)
    assert (SOCKET_MARK.encode() in definition) is takes_socket
    names = ["exposed_port", "exposed_metrics_port"] + ["exposed_socket"] * takes_socket
    assert [*inspect.signature(pickle.loads(definition)).parameters] == names
