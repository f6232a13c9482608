"""Applications that come with their environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core.errors import FalServerlessError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_host_serverless import SyncServerlessClient

ENTRY = """
[tool.fal.apps.entry]
python_entry_point = "stockroom:Shop"
"""


def test_entry_point_is_asked_before_it_is_deployed(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """An entry point is asked for its metadata, which the revision carries, and for its paths."""
    (project / "pyproject.toml").write_text(ENTRY)
    result = asking.deploy(environment_name="staging")
    asked = [name for name, _ in recorder.asked]
    assert asked[:3] == ["BuildEnvironment", "Run", "RegisterApplication"]
    assert recorder.last("Run").application_name == "entry--staging"
    request = recorder.last("RegisterApplication")
    assert request.WhichOneof("callable") == "entrypoint"
    assert request.entrypoint == "stockroom:Shop.run_local"
    assert MessageToDict(request.metadata) == {"openapi": {"paths": {"/look": {}}}}
    assert result.urls["sync"] == {"/look": "https://run.fal.test/me/app/look"}


def test_entry_point_on_a_machine_type_that_nobody_knows(
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
    caplog: pytest.LogCaptureFixture,
):
    """The service may know a machine type that plugins here do not: a warning says so."""

    class Catalogue:
        fal_core_api = 1

        @hookimpl
        def fal_list_machines(self) -> list[Machine]:
            return [Machine(name="GPU-H100")]

    (project / "pyproject.toml").write_text(f'{ENTRY}machine_type = "GPU-H1007"\n')
    with registered(Catalogue()):
        asking.deploy("entry")
    requirements = recorder.last("RegisterApplication").machine_requirements
    assert list(requirements.machine_types) == ["GPU-H1007"]
    [warning] = [line for line in caplog.messages if "'GPU-H1007'" in line]
    assert warning.startswith(
        "Unknown machine type 'GPU-H1007'. Did you mean 'GPU-H100'? Host 'serverless' is asked"
    )


@pytest.mark.parametrize(
    ("returned", "raised", "words"),
    [
        ([], False, "returned no dictionary"),
        ("", True, "no such module"),
        (Path("x"), False, "is no plain value"),
    ],
)
def test_entry_point_that_is_no_application_is_not_deployed(
    returned: Any,
    raised: bool,
    words: str,
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
):
    """An entry point without metadata is not deployed; its result may hold built-in values alone."""
    (project / "pyproject.toml").write_text(ENTRY)
    recorder.returned, recorder.raised = returned, raised
    with pytest.raises(FalServerlessError, match=words):
        asking.deploy("entry")
    assert recorder.asked[-1][0] == "Run"


def test_dry_run_of_an_entry_point_asks_nothing(
    run: Callable[..., int],
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
    capsys: Any,
):
    """A dry run prints the entry point, and does not ask it for metadata."""
    (project / "pyproject.toml").write_text(ENTRY)
    assert run("deploy", "--dry-run") == 0
    assert "Entry point: stockroom:Shop" in capsys.readouterr().out
    assert recorder.asked == []
