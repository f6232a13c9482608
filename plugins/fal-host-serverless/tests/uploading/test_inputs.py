"""Files and projects of a call."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_core.environments import CurrentEnvironment
from fal_core.options import Gateway, HostOptions
from fal_host_serverless import FalServerlessHost, SyncServerlessClient
from fal_host_serverless import deploy as deploying
from fal_host_serverless.uploading import inputs, local_files
from fal_host_serverless.uploading.local_files import USUALLY_IGNORED


@pytest.mark.parametrize(
    ("written", "more"),
    [
        ("", []),
        (", app_files_ignore=[r'\\.txt$']", [".git/config", "__pycache__/a.pyc"]),
        (", app_files_ignore=[]", [".git/config", "__pycache__/a.pyc", "words.txt"]),
    ],
)
@pytest.mark.parametrize("declared", ["@function({})\ndef it():\n", "class It(App, {}):\n"])
def test_repositories_stay(
    declared: str,
    written: str,
    more: list[str],
    project: Path,
    asking: SyncServerlessClient,
    monkeypatch: pytest.MonkeyPatch,
):
    """
    By default repositories and compiled files do not travel; patterns that are given replace
    that.
    """
    monkeypatch.delitem(sys.modules, "holding", raising=False)
    folder = project / "data"
    for name in (".git/config", "__pycache__/a.pyc"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("secret")
    (project / "holding.py").write_text(
        "from fal_core import function\nfrom fal_serve import App\n"
        + declared.format(f"app_files=['data']{written}")
        + "    pass\n"
    )
    found = [file.relative_path for file in deploying.prepare(asking, "holding.py").files]
    expected = more or ["words.txt"]
    assert found == [f"data/{name}" for name in expected]


def test_class_shows_the_default_patterns():
    """The default of ``App.app_files_ignore`` is the default of the host."""
    from fal_serve import App

    assert App.app_files_ignore == [*USUALLY_IGNORED]


def test_files_are_not_read_to_check_a_function(project: Path, monkeypatch: pytest.MonkeyPatch):
    """The check before a launch looks files up, and does not read them."""
    read: list[Path] = []
    monkeypatch.setattr(local_files, "content_hash", lambda path, mode: read.append(path) or "")
    host = FalServerlessHost("127.0.0.1:1")
    options = HostOptions(app_files=("data",))
    host.check(CurrentEnvironment(), options, Gateway())
    assert not read
    assert inputs.select_files("", CurrentEnvironment(), options).collect()
    assert read == [project / "data" / "words.txt"]
