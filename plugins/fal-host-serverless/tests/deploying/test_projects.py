"""Applications that a pyproject.toml declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core.errors import OptionError
from fal_host_serverless import SyncServerlessClient


def test_project_is_read_as_the_sdk_reads_it(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path, own: Path
):
    """
    Folders are relative to that of pyproject.toml, wherever the application's file is; a health
    check is a table.
    """
    (project / "inner").mkdir()
    (project / "inner/placed.py").write_text(
        "from fal_core import function\n"
        "@function(exposed_port=8765)\ndef answer() -> int:\n    return 1\n"
    )
    (project / "pyproject.toml").write_text(
        "[tool.fal.apps.plain]\n"
        'ref = "inner/placed.py::answer"\n'
        'requirements = ["./own"]\n'
        'app_files = ["words.txt"]\n'
        'app_files_context_dir = "data"\n'
        "app_scale_settings = true\n"
        'health_check = { path = "/up", timeout_seconds = 3, method = "post" }\n'
    )
    asking.deploy("plain")
    request = recorder.last("RegisterApplication")
    assert [file.relative_path for file in request.files] == ["words.txt"]
    assert request.scale
    check = MessageToDict(request.health_check_config)
    assert check == {"path": "/up", "timeoutSeconds": 3, "method": "POST"}
    assert [*rest.stored] == ["own-1.tar.gz"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "has no 'ref'"),
        ('python_entry_point = "stockroom"', "'stockroom', which names no application"),
        ('ref = "a.py"\npython_entry_point = "a:b"', "'ref' and 'python_entry_point'"),
        ('ref = "a.py"\nimage = { image = "i" }', "'ref' and 'image'"),
        ("image = { dockerfile = 'Dockerfile' }", "'dockerfile', which only"),
        ("image = { image = 'i', build_args = {} }", "unknown key 'build_args'"),
        ("image = {}", "has no image"),
        ("image = { image = 1 }", r"image\.image"),
        ("image = { image = 'i', registries = { r = {} } }", "a username and a password"),
        ("image = { image = 'i' }\napp_files = ['a']", "has its own files"),
    ],
)
def test_wrong_entry_point_or_image_is_refused(
    written: str, words: str, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """An application is exactly one of a file, an entry point and an image."""
    (project / "pyproject.toml").write_text(f"[tool.fal.apps.one]\n{written}\n")
    with pytest.raises(OptionError, match=words):
        asking.deploy("one")
    assert recorder.asked == []


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('auth = "pubic"', r"tool\.fal\.apps\.one\.auth.*'pubic'"),
        ('deployment_strategy = "canary"', "deployment_strategy.*'canary'"),
        ('no_scale = "no"', "no_scale.*True, False"),
        ("keep_alves = 3", "keep_alves"),
        ("no_scale = true\nreset_scale = true", "'reset_scale' and 'no_scale'. Write one"),
        ("health_check = true", r"one\.health_check"),
        ("health_check = {}", "no path"),
        ('health_check = { path = "/", often = 1 }', "unknown key 'often'"),
        ("health_check = { path = 1 }", r"one\.health_check\.path"),
        ('health_check = { path = "/", method = "PUT" }', r"check\.method.*'PUT'"),
        ("team = 1", r"one\.team"),
    ],
)
def test_wrong_declaration_of_a_project_is_refused(
    written: str, words: str, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """A wrong value in a project is refused before a request is sent."""
    declared = f'[tool.fal.apps.one]\nref = "searching.py::Search"\n{written}\n'
    (project / "pyproject.toml").write_text(declared)
    with pytest.raises(OptionError, match=words):
        asking.deploy("one")
    assert recorder.asked == []
