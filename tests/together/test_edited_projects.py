"""Local projects whose sources are edited while workers have them imported."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_core import function
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until

pytest.importorskip("fal_env_virtualenv")

BACKEND = """
import pathlib, zipfile

def wheel(directory, place, text):
    described = "demo-1.0.dist-info"
    files = {
        place: text,
        described + "/METADATA": "Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n",
        described + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\n"
        "Root-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[described + "/RECORD"] = "".join(f"{name},,\\n" for name in files)
    name = "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
        for place, text in files.items():
            archive.writestr(place, text)
    return name

def build_wheel(directory, settings=None, metadata=None):
    return wheel(directory, "demo.py", pathlib.Path("src/demo.py").read_text())

def build_editable(directory, settings=None, metadata=None):
    return wheel(directory, "demo.pth", str(pathlib.Path("src").resolve()) + "\\n")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A local project that needs no index to be built."""
    path = tmp_path / "demo"
    (path / "src").mkdir(parents=True)
    (path / "src" / "demo.py").write_text("value = 1\n")
    (path / "backend.py").write_text(BACKEND)
    (path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "demo"\nversion = "1.0"\n'
    )
    return path


@pytest.fixture
def host() -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


@pytest.mark.parametrize("form", ["-e {}", "{}", "-r {}/requirements.txt"])
def test_the_next_call_has_the_edited_source(
    host: LocalHost, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    """
    Calls soon after an edit run in a worker that has imported the project anew; one before
    it ends as it began, and its worker is not kept.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    (project / "requirements.txt").write_text("-e ./\n")
    begun, edited = tmp_path / "begun", tmp_path / "edited"

    @function("virtualenv", requirements=[form.format(project)], host=host, keep_alive=5)
    def read() -> tuple[int, int]:
        import demo  # type: ignore[import-not-found]  # written by this test

        return demo.value, os.getpid()

    @function("virtualenv", requirements=[form.format(project)], host=host, keep_alive=5)
    def read_late(begun: Path, edited: Path) -> tuple[int, int]:
        import demo

        begun.touch()
        # Until the test has edited the project.
        while not edited.exists():
            time.sleep(0.01)
        return demo.value, os.getpid()

    value, pid = read()
    assert (value, read()) == (1, (1, pid))
    late = read_late.submit(begun, edited)
    assert wait_until(begun.exists, 60)
    # What it writes beside its sources is no edit.
    (project / "results.csv").write_text("1\n")
    time.sleep(0.2)  # No worker must end meanwhile.
    assert host.worker_count

    (project / "src" / "demo.py").write_text("value = 20\n")
    assert wait_until(lambda: read()[0] == 20, 60)
    edited.touch()
    assert late.result(timeout=60) == (1, pid)
    # A busy machine may have started several.
    value, fresh = read()
    assert value == 20
    assert fresh != pid
    assert wait_until(lambda: not is_alive(pid), 60)


def test_a_worker_that_is_always_there_gives_way(
    host: LocalHost, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``min_concurrency`` keeps no worker that has imported modules edited since."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))

    @function("virtualenv", requirements=[f"-e {project}"], host=host, min_concurrency=1)
    def read() -> tuple[int, int]:
        import demo

        return demo.value, os.getpid()

    pids = []
    for value in (20, 300, 4000):
        (project / "src" / "demo.py").write_text(f"value = {value}\n")
        assert wait_until(lambda: read()[0] == value, 60)  # noqa: B023 - asked at once
        pids.append(read()[1])
    assert wait_until(lambda: [is_alive(pid) for pid in pids] == [False, False, True], 60)
    assert wait_until(lambda: host.worker_count == 1, 60)
