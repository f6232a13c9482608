"""Builds whose process is killed, or whose disk is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
from image_builders import ImageBuilder
from local_engines import LocalEngine, missing

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core_worker import trees
from fal_env_container import finding
from fal_env_container.building import processes
from fal_testing.harness.processes import is_alive, wait_until

PROGRAM = """
import json, sys
from threading import Event
from fal_env_container import Container, ContainerImage
work = json.loads(sys.argv[1])
environment = Container(image=ContainerImage(work["text"], context_dir=work["folder"]))
environment.build(lambda line: print(line.message, flush=True), Event())
"""


@pytest.mark.faults
def test_killed_process_leaves_nothing(build: ImageBuilder):
    """
    A process that is killed while it builds leaves no container, no layer and no file, and
    the next build of the image works.
    """
    before = build.state
    text = f"FROM {build.base}\nRUN echo one > /one\nRUN echo begun; sleep 600\n"
    work = json.dumps({"text": text, "folder": str(build.folder)})
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, work], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "begun\n":
                break
        process.kill()
    assert wait_until(lambda: build.state == before, 60), build.state
    image = build(build.declare("RUN echo one > /one\n"))
    assert build.read(image, "cat", "/one") == "one"


@pytest.mark.faults
def test_an_engine_that_is_slow_to_end_is_left_to_clean_up(
    build: ImageBuilder, monkeypatch: pytest.MonkeyPatch
):
    """
    A build that is cancelled while its engine is busy, as with a large layer, is over soon for
    its caller. The engine is not killed for that, and leaves nothing; a build waits for it.
    """
    monkeypatch.setattr(processes, "_PATIENCE", 0.5)
    before, cancelled, text = build.state, Event(), "RUN echo one > /one && sleep 600\n"
    with ThreadPoolExecutor() as threads:
        building = threads.submit(build, build.declare(text), cancelled)
        assert wait_until(lambda: bool(steps_of(build)), 60)
        busy = engines_of(build)
        for pid in busy:
            os.kill(pid, signal.SIGSTOP)
        try:
            cancelled.set()
            with pytest.raises(Cancelled):
                building.result(60)
            assert all(map(is_alive, busy))
            assert build.state[1] != before[1]
        finally:
            for pid in busy:
                os.kill(pid, signal.SIGCONT)
    assert wait_until(lambda: build.state == before, 60), build.state


def engines_of(build: ImageBuilder) -> list[int]:
    """Return the processes of Podman that build in the cache of *build*."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        is_ours = any(str(build.folder.parent) in word for word in words)
        if os.path.basename(words[0]) == "podman" and "build" in words and is_ours:
            found.append(int(folder.name))
    return found


def steps_of(build: ImageBuilder) -> list[int]:
    """Return the processes of steps of *build* that run in containers."""
    return [pid for engine in engines_of(build) for pid in trees.contained(engine)]


@pytest.fixture
def small(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ImageBuilder]:
    """An engine whose disk has 24 MB."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    engine = LocalEngine(disk / "store", tmp_path)
    try:
        engine.create()
        for name, value in engine.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FAL_CORE_CACHE", str(disk / "cache"))
        finding.forget()
        (tmp_path / "context").mkdir()
        yield ImageBuilder(engine, engine.import_tiny(), tmp_path / "context")
    finally:
        engine.remove()
        # What the engine has started may end a moment after it.
        unmount = ["umount", "--recursive", str(disk)]
        assert wait_until(lambda: subprocess.run(unmount).returncode == 0, 60)
        finding.forget()


@pytest.mark.faults
def test_full_disk_is_told(small: ImageBuilder):
    """A build for which there is no room says so, leaves nothing, and the next works."""
    (small.folder / "file").write_bytes(bytes(1 << 20))
    text = "COPY file /file\nRUN dd if=/dev/zero of=/big bs=1048576 count=64\n"
    with pytest.raises(EnvironmentBuildError, match="the disk is full") as caught:
        small(small.declare(text))
    assert "step 3 of 3" in str(caught.value)
    assert small.engine.containers() == set()
    image = small(small.declare("RUN echo small > /small\n"))
    assert small.read(image, "cat", "/small") == "small"


@pytest.mark.faults
def test_disk_that_was_full_before_is_told(small: ImageBuilder):
    """Where not even the files of a build can be written, it says that the disk is full."""
    small.engine.run("info")
    filling = small.engine.folder.parent / "filling"
    with suppress(OSError), open(filling, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    (small.folder / "file").write_text("small")
    wanted = small.declare("COPY file /file\n")
    with pytest.raises(EnvironmentBuildError, match=r"The disk is full: .* Free some space"):
        small(wanted)
    filling.unlink()
    assert small.read(small(wanted), "cat", "/file") == "small"
