"""
Options that requests cannot express.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import (
    OptionError,
)
from fal_core.explanations import explain
from fal_host_serverless import (
    FalServerlessHost,
)


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
def test_what_cannot_be_asked_is_refused_as_it_is_explained(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    What no request can be made of is refused before the service is asked, in the words
    of the explanation.
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
    """
    The service has Pythons of its own: that one is not on this machine is only noted.
    """

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), python_version="3.99")
    def nothing() -> None:
        return None

    explanation = explain(nothing)
    assert explanation.runs
    assert any("3.99" in note for note in explanation.notes)
