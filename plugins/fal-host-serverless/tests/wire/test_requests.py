"""Options that requests cannot express."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import OptionError
from fal_core.explanations import explain
from fal_host_serverless import FalServerlessHost


@pytest.mark.parametrize(
    "options",
    [
        {"health_check_config": {}},
        {"health_check_config": {"path": "/", "method": "PUT"}},
        {"keep_alive": 10**30},
        {"scaling_delay": 2**31},
        {"_scheduler_options": {"where": object()}},
        {"metadata": {"when": object()}},
        {"retry_config": {"boredom": {"retries": 1}}},
        {"skip_retry_conditions": ["boredom"]},
        {"app_files": ["nowhere"]},
        {"app_files": ["."], "app_files_ignore": ["("]},
        {"requirements": ["./no-project"]},
    ],
)
def test_wrong_options_are_refused_as_they_are_explained(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Options that no request can express are refused before a request is sent, with the words of
    the explanation.
    """
    (tmp_path / "no-project").mkdir()
    (tmp_path / "no-project/pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), **options)
    def nothing() -> None:
        return None

    (reason,) = explain(nothing).reasons
    with pytest.raises(OptionError) as caught:
        nothing()
    assert str(caught.value) == reason


def test_a_python_that_is_not_here_may_be_there():
    """A Python that is missing on this machine is only a note, since the service has its own."""

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), python_version="3.99")
    def nothing() -> None:
        return None

    explanation = explain(nothing)
    assert explanation.runs
    assert any("3.99" in note for note in explanation.notes)
