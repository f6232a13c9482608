"""Requirements of this machine."""

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
    """Deploy a function with *requirements*, and return what its environment was built from."""
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
    """A local project is built and uploaded once, and required by its URL."""
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
    A file that only running it could read is refused with a sentence, and so are a program
    without inline metadata, one with settings of uv, and a lock.
    """
    settings = "# /// script\n# [tool.uv]\n# no-index = true\n# ///\n"
    for name, text, says in (
        ("setup.cfg", "", "Name the project"),
        ("bare.py", "", "does not say"),
        ("script.py", settings, "has settings of uv"),
        ("pylock.toml", 'lock-version = "1.0"\n', "is a lock"),
        ("pyproject.toml", "[tool.uv.sources]\na = { path = '.' }\n", "has tool.uv.sources"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(OptionError, match=says):
            replace_local([f"-r {path}"], tmp_path, str)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("requirements=['pylock.toml']", "is a lock or has settings of uv"),
        ("exclude_newer='7 days'", "'exclude_newer' is not for a service"),
        ("project='.'", "'project' is not for a service"),
    ],
)
def test_what_the_service_does_not_follow(
    asking: SyncServerlessClient,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    says: str,
):
    """Locks, projects of uv and choices of versions are refused before anything is sent."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(project / "cache"))
    (project / "pylock.toml").write_text('lock-version = "1.0"\n')
    (project / "pyproject.toml").write_text('[project]\nname = "here"\nversion = "1"\n')
    (project / "uv.lock").write_text("version = 1\n")
    (project / "plain.py").write_text(
        f"from fal_core import function\n@function({options})\n"
        "def answer() -> int:\n    return 1\n"
    )
    with pytest.raises(OptionError, match=says):
        asking.deploy("plain.py")
