"""
Requirements of this machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core.errors import OptionError
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.uploading.local_requirements import replace_local


def deploy_with(
    asking: SyncServerlessClient, recorder: Any, project: Path, requirements: list[str]
) -> dict[str, Any]:
    """
    Deploy a function with *requirements*, and return what its environment was built from.
    """
    (project / "plain.py").write_text(
        "from fal_core import function\n"
        f"@function(requirements={requirements!r})\n"
        "def answer() -> int:\n    return 1\n"
    )
    asking.deploy("plain.py")
    built = MessageToDict(recorder.last("BuildEnvironment").environments[0])
    configuration: dict[str, Any] = built["configuration"]
    return configuration


def test_local_requirement_is_uploaded(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path, own: Path
):
    """
    A local project is built and uploaded once, and required by its URL.
    """
    (project / "needs.txt").write_text("cowsay==6.1  # a comment\n\n")
    configuration = deploy_with(asking, recorder, project, ["./own[fast]", "needs.txt"])
    (archive,) = rest.stored
    assert configuration["requirements"] == [
        f"own[fast] @ http://{rest.address}/stored/{archive}",
        "cowsay==6.1",
    ]
    assert archive == "own-1.tar.gz"
    registered = MessageToDict(recorder.last("RegisterApplication").environments[0])
    assert registered["configuration"] == configuration
    assert rest.asked.count(("PUT", f"/stored/{archive}")) == 1
    assert (
        rest.headers[0]["X-Fal-Core-Digest"] == hashlib.sha256(rest.stored[archive]).hexdigest()
    )
    rest.asked.clear()
    asking.deploy("plain.py")
    assert rest.asked == []


def test_programs_list_requirements(
    asking: SyncServerlessClient, recorder: Any, project: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    The inline metadata of a program is replaced by what it lists; a directory that is no
    project stands for no package of its name.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(project / "cache"))
    (project / "script.py").write_text(
        '# /// script\n# dependencies = ["cowsay==6.1"]\n# ///\n'
    )
    (project / "pytest").mkdir()
    configuration = deploy_with(asking, recorder, project, ["script.py", "pytest"])
    assert configuration["requirements"] == ["cowsay==6.1", "pytest"]


def test_files_that_the_service_cannot_read(tmp_path: Path):
    """
    A file that only running it could read is refused with a sentence, and so is a program
    without inline metadata.
    """
    for name, says in (("setup.cfg", "Name the project"), ("bare.py", "does not say")):
        path = tmp_path / name
        path.touch()
        with pytest.raises(OptionError, match=says):
            replace_local([f"-r {path}"], tmp_path, str)
