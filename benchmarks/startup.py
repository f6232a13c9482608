"""Starts: a new environment, a new process, an import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure, Role

#: Three small requirements without requirements of their own.
REQUIREMENTS = ("idna==3.10", "six==1.17.0", "toml==0.10.2")

_MARK = "measured"

_FAL_CORE = """
from time import perf_counter
from fal_core import function
began = perf_counter()
@function({kind!r}, host="local", **{options!r})
def increment(x):
    {imports}
    return x + 1
assert increment(1) == 2
print({mark!r}, perf_counter() - began, flush=True)
"""

_FAL = """
from time import perf_counter
import fal
from fal.api import LocalHost
{prepare}
began = perf_counter()
@fal.function({kind!r}, host=LocalHost(), **{options!r})
def increment(x):
    {imports}
    return x + 1
assert increment(1) == 2
print({mark!r}, perf_counter() - began, flush=True)
"""

#: fal keeps environments apart by nothing but what they are made of.
_FORGET = """
import shutil
import isolate
environment = isolate.prepare_environment({kind!r}, **{options!r})
shutil.rmtree(environment.settings.cache_dir_for(environment), ignore_errors=True)
"""

_IMPORTS = "import idna, six, toml"


class Program:
    """A program that prints how long it took once it has its first result."""

    def __init__(self, text: str, **values: object) -> None:
        self._text = text
        self._values = values
        self._directory = tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-")
        self._path = Path(self._directory.name) / "program.py"

    def run(self, **options: object) -> tuple[float, float]:
        """Run it; return its own seconds, and those since it was started."""
        text = self._text.format(options=options, mark=_MARK, **self._values)
        self._path.write_text(text, encoding="utf-8")
        began = perf_counter()
        with subprocess.Popen(
            [sys.executable, str(self._path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                mark, _, own = line.partition(" ")
                if mark == _MARK:
                    return float(own), perf_counter() - began
        raise RuntimeError(f"The program ended with {process.returncode}, without a result.")

    def close(self) -> None:
        """Remove it."""
        self._directory.cleanup()


@contextmanager
def new_environment(text: str) -> Iterator[Measure]:
    """Declare and call a function whose environment has never been built."""
    options: dict[str, object] = {"requirements": list(REQUIREMENTS), "resolver": "uv"}
    forget = _FORGET.format(kind="virtualenv", options=options)
    program = Program(globals()[text], kind="virtualenv", imports=_IMPORTS, prepare=forget)

    def measure() -> float:
        tags = {"tags": [f"benchmark-{os.urandom(6).hex()}"]} if text == "_FAL_CORE" else {}
        return program.run(**options, **tags)[0]

    measure()
    yield measure
    program.close()


@contextmanager
def new_virtualenv() -> Iterator[Measure]:
    """Have uv make the environment, and its interpreter import what it has."""

    def make(*options: str) -> float:
        with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as directory:
            python = f"{directory}/venv/bin/python"
            install = ["uv", "pip", "install", "-q", "--python", python, *options]
            began = perf_counter()
            subprocess.run(
                ["uv", "venv", "-q", "--python", sys.executable, f"{directory}/venv"],
                check=True,
            )
            subprocess.run([*install, *REQUIREMENTS], check=True)
            subprocess.run([python, "-c", _IMPORTS], check=True)
            return perf_counter() - began

    make()
    yield lambda: make("--offline")


@contextmanager
def built_environment(text: str, kind: str) -> Iterator[Measure]:
    """Start a program that calls a function whose environment is built."""
    virtual = kind == "virtualenv"
    imports = _IMPORTS if virtual else ""
    program = Program(globals()[text], kind=kind, imports=imports, prepare="")
    options: dict[str, object] = {"requirements": list(REQUIREMENTS)} if virtual else {}
    if virtual and text == "_FAL":
        options["resolver"] = "uv"
    program.run(**options)
    yield lambda: program.run(**options)[1]
    program.close()


@contextmanager
def imported(modules: str, count: int) -> Iterator[Measure]:
    """Import modules in a bare interpreter."""
    text = f"import {modules}; print(perf_counter() - began)"
    text = f"from time import perf_counter; began = perf_counter(); {text}"

    def once() -> float:
        run = subprocess.run(
            [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, check=True
        )
        return float(run.stdout)

    once()
    yield lambda: median(once() for _ in range(count))


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    return [*_environments(), *_built(), _imports(quick=quick)]


def _environments() -> list[Figure]:
    here = "benchmarks.startup:new_"
    names = ", ".join(requirement.partition("=")[0] for requirement in REQUIREMENTS)
    return [
        Figure(
            name="new-environment",
            title="a new virtualenv with three small requirements, to the first result",
            unit="s",
            note=f"{names}, wheels in uv's cache; a new process, its import not counted",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=here + "environment",
                    settings={"text": "_FAL_CORE"},
                    role="fal-core",
                    needs=("fal_env_virtualenv",),
                    pinned=False,
                ),
                Contestant(
                    name="fal LocalHost, resolver uv",
                    target=here + "environment",
                    settings={"text": "_FAL"},
                    needs=("fal",),
                    pinned=False,
                ),
                Contestant(
                    name="uv venv, uv pip and an interpreter",
                    target=here + "virtualenv",
                    role="reference",
                    pinned=False,
                ),
            ),
            goals=(Goal(plus=0.25),),
        )
    ]


def _built() -> list[Figure]:
    target = "benchmarks.startup:built_environment"
    peer = Contestant(
        name="fal LocalHost, virtualenv",
        target=target,
        settings={"text": "_FAL", "kind": "virtualenv"},
        needs=("fal",),
        pinned=False,
    )
    return [
        Figure(
            name=f"built-{kind}",
            title=f"kind {kind}, already built: a new process, to the first result",
            unit="s",
            note="from the start of the interpreter; its start and the import are included",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=target,
                    settings={"text": "_FAL_CORE", "kind": kind},
                    role="fal-core",
                    needs=("fal_env_virtualenv",) if kind == "virtualenv" else (),
                    pinned=False,
                ),
                peer,
            ),
            goals=(Goal(plus=0.15),),
        )
        for kind in ("virtualenv", "current")
    ]


def _imports(*, quick: bool) -> Figure:
    def contestant(name: str, modules: str, *needs: str, role: Role = "peer") -> Contestant:
        return Contestant(
            name=name,
            target="benchmarks.startup:imported",
            settings={"modules": modules, "count": 3 if quick else 11},
            needs=needs,
            pinned=False,
            role=role,
        )

    return Figure(
        name="import",
        title="import, over a bare interpreter",
        unit="ms",
        note="each number is the median of several new processes",
        contestants=(
            contestant(FAL_CORE, "fal_core", role="fal-core"),
            contestant("attrs + pluggy", "attrs, pluggy", role="reference"),
            contestant("modal", "modal", "modal"),
            contestant("ray", "ray", "ray"),
            contestant("fal", "fal", "fal"),
        ),
        goals=(Goal(against="attrs + pluggy", plus=0.012),),
    )
