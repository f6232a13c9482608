"""
Containers: calls in them, large values, first calls, and requirements on top of an image.

Podman has a store of its own, with an image of this machine's Python; the virtual
environments beside it have the same Python.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

from benchmarks.calls import increment, median_call
from benchmarks.contests import ROOT
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.pinning import cores, descendants, move
from benchmarks.startup import Program

_VIRTUALENV = "the same in a virtualenv"
_ECHO = "podman run -i … cat, an echo"
_RUN = "podman run … python3 -c pass"
_BUILD = "podman build, with pip"

#: The requirements that are put on top of an image, without requirements of their own.
_NAMES = ("alpha", "beta", "gamma")

_FIRST_CALL = """
from time import perf_counter
from fal_core import function
began = perf_counter()
@function("container", host="local", **{options!r})
def increment(x):
    return x + 1
assert increment(1) == 2
print({mark!r}, perf_counter() - began, flush=True)
"""


class Engine:
    """Podman with a store of its own, and an image."""

    def __init__(self, folder: Path) -> None:
        path = os.fspath(ROOT / "plugins" / "fal-env-container" / "tests")
        if path not in sys.path:
            sys.path.append(path)
        engines = importlib.import_module("local_engines")
        reason = engines.missing()
        if reason is not None:
            raise RuntimeError(reason)
        self._engine = engines.LocalEngine(folder / "store", folder)
        self._engine.create()
        os.environ.update(self._engine.variables)
        self.image: str = self._engine.import_python()

    def run(self, *arguments: str) -> str:
        """Run podman, and return what it prints."""
        printed: str = self._engine.run(*arguments)
        return printed

    def pin(self) -> None:
        """Keep the processes of all containers on the core of workers."""
        pair = cores()
        running = self.run("ps", "--quiet").split()
        if pair is None or not running:
            return
        for pid in map(int, self.run("inspect", "--format={{.State.Pid}}", *running).split()):
            for each in (pid, *descendants(pid)):
                move(each, pair[1])

    def close(self) -> None:
        """Remove its containers, its images and its store."""
        self._engine.remove()


@contextmanager
def started_engine() -> Iterator[Engine]:
    """Yield an engine, which is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as folder:
        engine = Engine(Path(folder))
        try:
            yield engine
        finally:
            engine.close()


def _python_version() -> str:
    """Return the version of the image's Python, which is the system's."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = ["/usr/bin/python3", "-I", "-c", ask]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


# -- calls of a warm worker --------------------------------------------------------


@contextmanager
def _called(
    raw: Callable[..., Any], *, channel: str | None, arguments: tuple[Any, ...], **options: Any
) -> Iterator[Any]:
    """
    Yield *raw* as an isolated function with a warm worker, which was called twice.

    Arguments:
        channel: How the worker in a container is spoken to. None for a virtual environment.
    """
    from fal_core import function
    from fal_host_local import LocalHost

    common = {"max_concurrency": 1, "keep_alive": 600, **options}
    if channel is None:
        with closing(LocalHost()) as host:
            declare = function(
                "virtualenv", host=host, python_version=_python_version(), **common
            )
            isolated = declare(raw)
            isolated(*arguments)
            yield isolated
        return
    with started_engine() as engine, closing(LocalHost()) as host:
        os.environ["FAL_CORE_CONTAINER_CHANNEL"] = channel
        isolated = function("container", host=host, image=engine.image, **common)(raw)
        isolated(*arguments)
        engine.pin()
        yield isolated


@contextmanager
def warm_call(count: int, channel: str | None) -> Iterator[Measure]:
    """Call a function in a warm worker."""
    with _called(increment, channel=channel, arguments=(1,)) as isolated:
        yield lambda: median_call(isolated, count)


@contextmanager
def warm_echo(count: int) -> Iterator[Measure]:
    """Send a line to a program in a container, and read it back."""
    with started_engine() as engine:
        process = subprocess.Popen(
            ["podman", "run", "--rm", "--interactive", "--pull=never", engine.image, "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout

        def call(number: int) -> int:
            into.write(b"%063d\n" % number)
            line = out.read(64)
            assert line is not None
            return int(line) + 1

        call(1)
        engine.pin()
        yield lambda: median_call(call, count)
        into.close()
        process.wait()


#: Libraries that NumPy loads, and the image may lack.
_LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1", "libdl.so.2")


def _library_volumes() -> list[str]:
    """Return volumes with the libraries of this machine that NumPy loads."""
    command = ["/sbin/ldconfig", "-p"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, rest = line.strip().partition(" ")
        if name in _LIBRARIES:
            found.setdefault(name, rest.rpartition(" => ")[2])
    return [f"{path}:{path}:ro" for path in found.values()]


_kept: list[Any] = []


def exchange(array: Any) -> Any:
    """Look at one element of *array*, and give an array of its size that was made before."""
    import numpy

    if not _kept:
        _kept.append(numpy.full_like(array, array[-1] + 1))
    return _kept[0]


@contextmanager
def warm_array(size: int, channel: str | None) -> Iterator[Measure]:
    """Give an array of *size* bytes to a function in a warm worker, and get one back."""
    import numpy

    array = numpy.arange(size // 8, dtype=numpy.float64)

    options: dict[str, Any] = {"requirements": ["numpy"]}
    if channel is not None:
        options["volumes"] = _library_volumes()
    with _called(exchange, channel=channel, arguments=(array,), **options) as isolated:

        def measure() -> float:
            began = perf_counter()
            answer = isolated(array)
            seconds = perf_counter() - began
            assert answer[-1] == array[-1] + 1
            return seconds

        measure()
        yield lambda: min(measure() for _ in range(5))


# -- a first call ------------------------------------------------------------------


@contextmanager
def first_call() -> Iterator[Measure]:
    """Declare and call a function in a container of an image that is there, in a new process."""
    with started_engine() as engine:
        program = Program(_FIRST_CALL)
        options = {"image": engine.image}
        program.run(**options)
        yield lambda: program.run(**options)[0]
        program.close()


@contextmanager
def bare_run() -> Iterator[Measure]:
    """Have Podman run a Python that does nothing."""
    with started_engine() as engine:

        def measure() -> float:
            began = perf_counter()
            engine.run("run", "--rm", "--pull=never", engine.image, "python3", "-c", "pass")
            return perf_counter() - began

        measure()
        yield measure


# -- requirements on top of an image -----------------------------------------------


@contextmanager
def _wheels() -> Iterator[tuple[Engine, Path]]:
    """Yield an engine, and a directory of wheels."""
    from fal_uv.testing import write_wheel

    with started_engine() as engine, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wheels").mkdir()
        for each in _NAMES:
            write_wheel(folder / "wheels", each, "1.0")
        yield engine, folder


@contextmanager
def new_packages() -> Iterator[Measure]:
    """Have fal-core install requirements on top of an image."""
    from fal_env_container import Container

    with _wheels() as (engine, folder):
        os.environ["UV_FIND_LINKS"] = str(folder / "wheels")
        os.environ["UV_NO_INDEX"] = "1"
        os.environ["FAL_CORE_CACHE"] = str(folder / "cache")
        container = Container(image=engine.image, requirements=list(_NAMES))

        def measure() -> float:
            shutil.rmtree(folder / "cache" / "container-packages", ignore_errors=True)
            container.key  # noqa: B018  # a host has asked for it before
            began = perf_counter()
            container.build(lambda line: None, Event())
            return perf_counter() - began

        measure()
        yield measure


@contextmanager
def new_layer() -> Iterator[Measure]:
    """Have Podman build an image with the same requirements."""
    from fal_uv.running.uv import uv_command

    with _wheels() as (engine, folder):
        install = ["pip", "install", "--quiet", "--python", sys.executable, "--target"]
        subprocess.run([*uv_command(), *install, str(folder / "pip"), "pip"], check=True)

        def build(name: str, lines: str) -> None:
            (folder / "Dockerfile").write_text(lines)
            engine.run("build", "--no-cache", "--pull=never", "--tag", name, str(folder))

        build(
            "localhost/pip", f"FROM {engine.image}\nCOPY pip /usr/lib/python3/dist-packages\n"
        )
        options = "--no-index --find-links /wheels --root-user-action=ignore --no-cache-dir"
        lines = (
            "FROM localhost/pip\n"
            "RUN --mount=type=bind,source=wheels,target=/wheels "
            f"python3 -m pip install {options} {' '.join(_NAMES)}\n"
        )

        def measure() -> float:
            began = perf_counter()
            build("localhost/layer", lines)
            return perf_counter() - began

        measure()
        yield measure


# -- the figures ---------------------------------------------------------------------


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    count = 200 if quick else 2000
    size = (16 if quick else 64) << 20

    def ours(target: str, *needs: str, **settings: Any) -> Contestant:
        return _contestant(FAL_CORE, target, settings, needs, role="fal-core")

    def reference(name: str, target: str, *needs: str, **settings: Any) -> Contestant:
        return _contestant(name, target, settings, needs, role="reference")

    virtualenv = "fal_env_virtualenv"
    return [
        Figure(
            name="container-call",
            title="a warm call of x + 1 in a container, median",
            unit="µs",
            note="over descriptors that Podman passes on",
            contestants=(
                ours("warm_call", count=count, channel="passed"),
                reference(_VIRTUALENV, "warm_call", virtualenv, count=count, channel=None),
            ),
            goals=(Goal(against=_VIRTUALENV, factor=1.2),),
        ),
        Figure(
            name="container-streams",
            title="a warm call of x + 1 in a container, by standard input and output, median",
            unit="µs",
            note="as with an engine on another machine",
            contestants=(
                ours("warm_call", count=count, channel="streams"),
                reference(_ECHO, "warm_echo", count=count),
            ),
            goals=(Goal(against=_ECHO, plus=0.000_05),),
        ),
        Figure(
            name="container-array",
            title=f"{size >> 20} MiB NumPy array into a container, one of that size out, warm",
            unit="ms",
            note="over descriptors that Podman passes on; the best of five calls a round",
            contestants=(
                ours("warm_array", "numpy", size=size, channel="passed"),
                reference(
                    _VIRTUALENV, "warm_array", virtualenv, "numpy", size=size, channel=None
                ),
            ),
            goals=(Goal(against=_VIRTUALENV, factor=1.5),),
        ),
        Figure(
            name="container-first",
            title="a first call in a container of an image that is there",
            unit="s",
            note="from the declaration to the result, in a new process",
            contestants=(ours("first_call"), reference(_RUN, "bare_run")),
            goals=(Goal(against=_RUN, plus=0.15),),
        ),
        Figure(
            name="container-requirements",
            title="three small requirements on top of an image",
            unit="s",
            note="wheels in a directory of this machine",
            contestants=(ours("new_packages"), reference(_BUILD, "new_layer")),
            goals=(Goal(against=_BUILD, factor=0.1),),
        ),
    ]


def _contestant(
    name: str,
    target: str,
    settings: Mapping[str, Any],
    needs: tuple[str, ...],
    *,
    role: Any,
) -> Contestant:
    warm = target.startswith("warm_")
    return Contestant(
        name=name,
        target=f"benchmarks.containers:{target}",
        settings=settings,
        needs=("fal_env_container", *needs),
        role=role,
        pinned=warm,
    )
