"""Fixtures of many tests: the program ``fal-core``, a local host, a worker for sealed functions."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

# Modules that tests of several folders share.
sys.path.insert(0, str(Path(__file__).with_name("explanations")))
sys.path.insert(0, str(Path(__file__).with_name("groups")))
sys.path.insert(0, str(Path(__file__).with_name("workers")))

from explained_functions import FUNCTIONS, HOSTS  # path

sys.path.insert(0, str(Path(__file__).parent))

from house.wheels import Unreachable, build_wheels, install_wheels  # path

sys.path.remove(str(Path(__file__).parent))

if importlib.util.find_spec("fal_host_local") is None:
    # Their functions run in workers of the local host.
    collect_ignore = [
        "batching/test_futures.py",
        "batching/test_maps.py",
        "calling/test_program_ends.py",
        "calling/test_spawning.py",
        "cli/test_executions.py",
        "cli/test_explain.py",
        "cli/test_outputs.py",
        "cli/test_projects.py",
        "cli/test_run.py",
        "cli/services/test_serving.py",
        "executors",
        "explanations/test_explaining.py",
        "explanations/test_option_uses.py",
        "importing",
        "pools",
        "sinks/test_log_records.py",
        "worker/opening/test_handovers.py",
        "worker/opening/test_origins.py",
        "worker/output",
        "worker/running/test_owners.py",
        "worker/running/test_serial.py",
        "worker/running/test_slots.py",
        "worker/running/test_watchers.py",
        "workers/test_crash_output.py",
    ]

#: Seconds that a command may take; most take a fraction of one.
PATIENCE = 240


@attrs.frozen
class CommandLine:
    """
    The program ``fal-core``, run in a directory of its own.

    Attributes:
        folder: Where it runs, and where the files that it is given lie.

        variables: Its environment variables.
    """

    folder: Path
    variables: dict[str, str]

    @property
    def argv(self) -> list[str]:
        """The program, to which arguments are added."""
        return [sys.executable, "-W", "error", "-m", "fal_core.cli"]

    def __call__(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run the program with *arguments*, and with *text* as its standard input."""
        return subprocess.run(
            [*self.argv, *arguments],
            cwd=self.folder,
            env=self.variables,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def in_terminal(self, *arguments: str, columns: int = 80) -> tuple[int, str]:
        """
        Run the program in a terminal of so many *columns*; return its exit code, and all that
        the terminal was sent.
        """
        # Some builds of Python come without it, or with one for a newer system.
        termios = pytest.importorskip("termios", exc_type=ImportError)

        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        left_out = ("COLUMNS", "NO_COLOR")
        process = subprocess.Popen(
            [*self.argv, *arguments],
            cwd=self.folder,
            env={
                **{
                    name: self.variables[name]
                    for name in self.variables
                    if name not in left_out
                },
                "TERM": "xterm",
            },
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        sent = bytearray()
        # Reading is an error once the program has ended and all was read.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 1 << 16):
                sent += part
        os.close(ours)
        return process.wait(PATIENCE), sent.decode().replace("\r\n", "\n")

    def write(self, name: str, text: str) -> Path:
        """Write a file that the program is to be given."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    def install(self, name: str, source: str, distribution: str = "") -> None:
        """Install a plugin of one module for the program alone."""
        site = self.folder / "site"
        self.write(f"site/{name}.py", source)
        folder = site / f"{distribution or name}-1.0.dist-info"
        self.write(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        self.write(f"{folder}/entry_points.txt", f"[fal_core]\n{name} = {name}\n")
        self.variables["PYTHONPATH"] = str(site)


@pytest.fixture
def command_line(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program, in an empty directory, with a cache and settings of its own."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FAL_CORE_", "COLUMNS", "NO_COLOR", "PYTHONPATH"))
    }
    variables |= {"FAL_CORE_CACHE": str(tmp_path / "cache"), "COLUMNS": "80"}
    return CommandLine(tmp_path, variables)


@pytest.fixture
def explaining(command_line: Any) -> Any:
    """The program, beside a file of functions, with two more hosts."""
    command_line.write("functions.py", FUNCTIONS)
    command_line.write("sibling.py", "def shout(text): return text.upper()\n")
    command_line.install("more_hosts", HOSTS)
    # The hosts of plugins that may be installed as well are left out.
    command_line.variables["FAL_CORE_PLUGINS_DENY"] = "ray, serverless"
    return command_line


@pytest.fixture
def local_host() -> Iterator[Any]:
    """A local host of the test's own."""
    from fal_host_local import LocalHost

    host = LocalHost()
    yield host
    host.close()


@pytest.fixture
def pipe_host() -> Iterator[Any]:
    """A host that starts one worker by its command alone."""
    from pipe_hosts import PipeHost

    host = PipeHost()
    yield host
    host.end()


@pytest.fixture(scope="session")
def sealing_home() -> ModuleType:
    """The module ``sealing/home.py``, which starts workers for sealed functions."""
    path = Path(__file__).with_name("sealing") / "home.py"
    spec = importlib.util.spec_from_file_location("sealing_home", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def worker(sealing_home: ModuleType) -> Iterator[Any]:
    """A worker that has this Python and its packages, but none of this process's state."""
    source = Path(__file__).resolve().parents[1] / "src"
    paths = [str(source), *(path for path in sys.path if "site-packages" in path)]
    process = sealing_home.Worker(sys.executable, paths)
    yield process
    assert process.close() == 0


@pytest.fixture
def bare_worker(tmp_path: Path, sealing_home: ModuleType) -> Iterator[Any]:
    """A worker that has no fal-core, only the modules that come with a worker."""
    import cloudpickle

    source = Path(__file__).resolve().parents[1] / "src"
    package = tmp_path / "only"
    package.mkdir()
    (package / "fal_core_worker").symlink_to(source / "fal_core_worker")
    (package / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    process = sealing_home.Worker(sys.executable, [str(package)], ("-I", "-S"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all distributions."""
    try:
        return build_wheels(tmp_path_factory.mktemp("wheels"))
    except Unreachable as error:
        # Where nobody looks, what was not tried would be taken for what works.
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(f"There is no index: {error}")


@pytest.fixture(scope="session")
def install_extra(wheels: Path) -> Callable[..., None]:
    """Makes a virtual environment of a Python, with an extra of the wheels."""
    return partial(install_wheels, wheels)
