"""Functions in containers: they run as elsewhere, and see what they have to of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fal_core import WorkerLost
from fal_core.errors import HostError

pytestmark = pytest.mark.faults


def test_a_function_runs_in_a_container(contained: Any):
    """The Python is that of the image, and no process of this machine is seen."""

    @contained()
    def find_python() -> tuple[str, int, bool]:
        return sys.executable, os.getpid(), os.path.exists("/usr/bin/env")

    executable, pid, has_more = find_python()

    assert executable == "/usr/bin/python3"
    assert pid < 20
    # This program is not in the image.
    assert not has_more


def test_large_values_go_through_shared_memory(contained: Any):
    """What the engine passes on is enough to share memory with the caller."""

    @contained()
    def reverse(data: bytearray) -> tuple[bytearray, bool]:
        with open("/proc/self/maps") as file:
            shared = "memfd:fal-core" in file.read()
        return data[::-1], shared

    data = bytearray(os.urandom(4 << 20))
    found, shared = reverse(data)

    assert found == data[::-1]
    assert shared


def test_what_a_function_prints_and_raises_comes_back(
    contained: Any, capfd: pytest.CaptureFixture[str]
):
    """Lines have their streams, and an error its class and the line that raised it."""

    @contained()
    def fail() -> None:
        print("plain")
        os.system("echo from below >&2")
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone") as caught:
        fail()

    printed = capfd.readouterr()
    assert "plain\n" in printed.out
    assert "from below\n" in printed.err
    assert "raise LookupError" in str(caught.value.__cause__)


def test_the_project_is_seen_where_it_is(
    contained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The working directory is that of the caller, and so are the files that are made there."""
    (tmp_path / "data.txt").write_text("forty-two")
    monkeypatch.chdir(tmp_path)

    @contained()
    def work() -> tuple[str, str]:
        with open("made.txt", "w") as file:
            file.write("made")
        with open("data.txt") as file:
            return os.getcwd(), file.read()

    assert work() == (str(tmp_path), "forty-two")
    made = tmp_path / "made.txt"
    assert made.read_text() == "made"
    assert (made.stat().st_uid, made.stat().st_gid) == (os.getuid(), os.getgid())


PROJECT = """
import os

def read():
    with open(os.path.join(os.path.dirname({file!r}), "data.txt")) as file:
        return file.read()
"""


def test_each_function_sees_its_own_project(
    contained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    The project of a function's file is seen, wherever the caller is, by the first call too and
    though functions of other projects have warm workers of the same image.
    """
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = []
    for name in ("one", "other"):
        project = tmp_path / name
        project.mkdir()
        (project / "pyproject.toml").touch()
        (project / "data.txt").write_text(f"that of {name}")
        file = project / "code.py"
        source, names = PROJECT.format(file=str(file)), {"__name__": f"code_of_{name}"}
        file.write_text(source)
        exec(compile(source, str(file), "exec"), names)
        found.append(contained()(names["read"])())
    assert found == ["that of one", "that of other"]


def test_variables_of_the_caller_are_seen(contained: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A function has the caller's variables but for those about this machine, and no value is in
    a command line.
    """
    monkeypatch.setenv("TESTED_FLAG", "a flag of the test")
    monkeypatch.setenv("LD_PRELOAD_TESTED", "/nowhere")

    @contained(shm_size="66m")
    def look() -> tuple[str | None, str | None, str | None]:
        found = (os.environ.get("TESTED_FLAG"), os.environ.get("LD_PRELOAD_TESTED"))
        return (*found, os.environ.get("PATH"))

    assert look() == ("a flag of the test", None, "/usr/bin:/bin")
    assert "a flag of the test" not in command_lines()


def test_secrets_are_in_no_command_line(contained: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A secret reaches the function that names it, and neither a command line nor the record of
    the container.
    """
    monkeypatch.setenv("TESTED_TOKEN", "a secret of the test")
    unseen: list[str] = []

    @contained(secrets=["TESTED_TOKEN"])
    def look() -> str | None:
        return os.environ.get("TESTED_TOKEN")

    assert look() == "a secret of the test"
    unseen.append(command_lines())
    listed = subprocess.run(["podman", "ps", "-q"], capture_output=True, text=True).stdout
    for each in listed.split():
        record = subprocess.run(["podman", "inspect", each], capture_output=True, text=True)
        unseen.append(record.stdout)
    assert len(unseen) > 1
    assert not any("a secret of the test" in text for text in unseen)


def command_lines() -> str:
    """Return the command lines of all processes, and the environments of those of the engine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes())
        except OSError:
            continue
    return b"\n".join(found).decode(errors="replace").replace("\0", " ")


def test_an_entry_point_and_a_user_of_the_image_do_not_matter(contained: Any, engine: Any):
    """The worker runs whatever the image starts, as the caller and not as the image's user."""
    changes = ('ENTRYPOINT ["/bin/sh", "-c", "exit 9"]', "USER 1234:1234", "WORKDIR /tmp")
    odd = engine.derive("localhost/tests/odd:1", engine.import_python(), changes=changes)

    @contained(image=odd)
    def find_user() -> int:
        return os.getuid()

    assert find_user() == 0


def test_volumes_and_shared_memory_are_those_that_are_asked_for(contained: Any, tmp_path: Path):
    """A volume is where the function wants it, and ``/dev/shm`` is as large as it is told."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_text("1 2 3")

    @contained(volumes=[f"{tmp_path}/models:/models:ro"], shm_size="128m")
    def look() -> tuple[str, str, int]:
        try:
            open("/models/new", "w").close()
            refused = ""
        except OSError as error:
            refused = error.strerror or ""
        status = os.statvfs("/dev/shm")
        with open("/models/weights") as file:
            return file.read(), refused, status.f_blocks * status.f_frsize

    assert look() == ("1 2 3", "Read-only file system", 128 << 20)


def test_a_volume_that_is_not_there_is_an_error(contained: Any, tmp_path: Path):
    """The path is named, and no directory is made in its place."""

    @contained(volumes=[f"{tmp_path}/nothing:/models"])
    def never() -> None: ...

    with pytest.raises(HostError, match=rf"this machine has no {tmp_path}/nothing"):
        never()
    assert not (tmp_path / "nothing").exists()


def test_a_function_without_a_network_has_none(contained: Any):
    """With ``network=False`` there is the loopback alone."""

    @contained(network=False)
    def find_interfaces() -> list[str]:
        import socket

        return [name for _, name in socket.if_nameindex()]

    assert find_interfaces() == ["lo"]


def test_a_worker_that_kills_itself_is_lost(contained: Any):
    """The worker is no process that the system protects, so a signal ends the call."""

    @contained()
    def vanish() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @contained()
    def work() -> int:
        return 1

    # A memory kill of another program at that moment is taken for the reason: containers see
    # the count of the whole machine.
    with pytest.raises(WorkerLost, match=r"SIGKILL|ran out of memory"):
        vanish()
    assert work() == 1
