"""The steps of everything: the tasks of ``dev.py`` that prove a part each."""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".tox"

#: The folders whose tests are run on Pythons that many dependencies do not support yet.
_NEWEST = ("sealing", "worker", "plugins", "conversion", "declaring")


def _nothing_missing() -> str | None:
    return None


def _no_suite_of_cpython() -> str | None:
    found = glob.glob("/usr/lib/python3.13/test/test_concurrent_futures")
    return None if found else "libpython3.13-testsuite is not installed"


def _no_ray() -> str | None:
    return None if find_ray() else "there is no Ray for this Python"


def _no_torch() -> str | None:
    return None if find_torch() else "pip finds no wheel of torch without an index"


def _runs(program: str) -> bool:
    # Programs that choose among versions are there for those that are not, too.
    tried = [program, "-c", ""]
    return (
        bool(shutil.which(program))
        and not subprocess.run(tried, capture_output=True).returncode
    )


def _no_python(*versions: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [each for each in versions if not _runs(f"python{each}")]
        return f"Python {' and '.join(absent)} is not installed" if absent else None

    return missing


@attrs.frozen(kw_only=True)
class Step:
    """
    One step: a task of ``dev.py`` and its arguments.

    Attributes:
        minutes: How long it may take before it is ended.

        of: The folders whose changes ask for it, beside those of its tests.

        is_first: Whether it is a part of every run, before all others.

        is_dividable: Whether it may be run for some of its test files: by pytest, with the
            conftest.py of this repository.

        is_whole: Whether it is run only where everything is.

        usual: The minutes that it takes on two processors: a run with a limit begins nothing
            for which too little is left, and shares out the rest by it.

        missing: Returns what the machine lacks, as a reason to leave the step out.
    """

    name: str
    command: Sequence[str]
    minutes: int = 15
    of: Sequence[str] = ()
    is_first: bool = False
    is_dividable: bool = False
    is_whole: bool = False
    usual: float = 1.0
    missing: Callable[[], str | None] = _nothing_missing

    def is_asked_for(self, changes: Collection[str]) -> bool:
        """Return whether one of the changed files is in a folder of the step."""
        return any(file.startswith(tuple(self.of)) for file in changes)


def _alone(name: str, *distributions: str, usual: float) -> Step:
    """Return the step that tests distributions with nothing but their own dependencies."""
    return Step(
        name=f"alone: {name}",
        command=[",".join(f"py313-{each}" for each in distributions)],
        minutes=30,
        of=["src/" if each == "core" else f"plugins/fal-{each}/" for each in distributions],
        is_dividable=True,
        usual=usual,
        missing=_no_python("3.13"),
    )


#: In the order in which they are begun: first those that cannot be divided, so that there is
#: time for them, and of the others the longest.
STEPS = (
    Step(name="style", command=["lint"], is_first=True),
    Step(name="types and structure", command=["types,house"], is_first=True),
    Step(name="documentation", command=["docs"], is_first=True),
    Step(name="example", command=["example"], is_first=True),
    Step(name="FastAPI's tests", command=["fastapi"], of=["plugins/fal-serve/"], usual=1.5),
    Step(
        name="CPython's tests of executors",
        command=["executors"],
        of=["src/fal_core/executors/"],
        missing=_no_suite_of_cpython,
    ),
    Step(
        name="tensors",
        command=["tensors"],
        of=["src/fal_core_worker/buffers/"],
        missing=_no_torch,
    ),
    Step(
        name="the rest of the tests", command=["rest"], minutes=90, is_dividable=True, usual=40
    ),
    Step(
        name="lowest versions",
        command=[
            *("lowest", "--", "tests", "plugins/fal-uv", "plugins/fal-env-virtualenv"),
            *("plugins/fal-machines", "--ignore", "tests/together"),
        ],
        minutes=60,
        of=["src/"],
        is_dividable=True,
        usual=9,
    ),
    _alone("server", "server", usual=5),
    _alone("serve and serverless", "serve", "serverless", usual=5),
    _alone("core", "core", "testing", usual=3.5),
    Step(
        name="core on 3.10",
        command=["py310-core"],
        minutes=30,
        of=["src/"],
        is_dividable=True,
        usual=5,
        missing=_no_python("3.10"),
    ),
    _alone("env-container", "env-container", usual=1.5),
    _alone("env-conda", "env-conda", usual=1.5),
    _alone("host-local", "host-local", usual=2),
    _alone("uv, virtualenv and machines", "uv", "env-virtualenv", "machines", usual=2),
    _alone("compat", "compat", usual=1),
    Step(
        name="alone: host-ray",
        command=["py311-host-ray"],
        minutes=30,
        of=["plugins/fal-host-ray/"],
        is_dividable=True,
        usual=2.5,
        missing=_no_ray,
    ),
    Step(
        name="newest Pythons",
        command=["py314-core,py315-core", "--", *(f"tests/{each}" for each in _NEWEST)],
        of=["src/fal_core_worker/", "src/fal_core/sealing/"],
        is_dividable=True,
        usual=2,
        missing=_no_python("3.14", "3.15"),
    ),
    Step(name="pages followed", command=["follow", "--", "--quick"], minutes=60, is_whole=True),
    Step(
        name="a cluster under kills",
        command=["cluster"],
        minutes=20,
        is_whole=True,
        missing=_no_ray,
    ),
    Step(name="the short proof", command=["tests"], minutes=30, is_whole=True),
)


def install_ray() -> None:
    """
    Install Ray into ``.tox``: it is no part of the environments of the project, as it has
    wheels for some Pythons alone.
    """
    if find_ray() is None and importlib.util.find_spec("uv") is not None:
        uv = [sys.executable, "-m", "uv"]
        ray = str(WORK / "ray")
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--seed", ray], check=True)
        # Where it has no wheel for this Python, its tests are skipped.
        wanted = ["pip", "install", "--quiet", "--python", ray, "ray[client]>=2.50"]
        subprocess.run([*uv, *wanted], check=False)
        find_ray.cache_clear()


def install_pythons(*, is_root: bool = hasattr(os, "geteuid") and os.geteuid() == 0) -> None:
    """
    Put newer Pythons on the path, which are installed into ``.tox`` where Debian has them, and
    older ones that pyenv has.
    """
    pythons = WORK / "pythons"
    folders = [str(pythons)]
    if is_root and shutil.which("apt-get") and shutil.which("dpkg"):
        subprocess.run(
            [str(ROOT / ".ci/pythons.sh"), str(pythons), "3.14", "3.15"],
            check=False,
            stdout=subprocess.DEVNULL,
        )
        folders += [str(pythons / each / "usr/bin") for each in ("3.14", "3.15")]
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for name in ("python3.10", "python3.13"):
        link, found = pythons / name, glob.glob(f"{pyenv}/versions/*/bin/{name}")
        if found and not link.exists() and not _runs(name):
            pythons.mkdir(parents=True, exist_ok=True)
            link.symlink_to(found[-1])
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])


def variables(*, is_whole: bool) -> Mapping[str, str]:
    """Return the variables of the steps; everything has all laws on all hosts."""
    added = {"FAL_CORE_LAWS": "all"} if is_whole else {}
    if ray := find_ray():
        added["FAL_RAY_PYTHON"] = ray
    if torch := find_torch():
        added["FAL_CORE_TORCH"] = torch
    # What tox tells this process of its own environment is not theirs.
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TOX_") and name not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    return {**given, **added}


@functools.cache
def find_ray() -> str | None:
    """Return a Python that has Ray: that of FAL_RAY_PYTHON, or the one of `prepare`."""
    for python in (os.environ.get("FAL_RAY_PYTHON"), str(WORK / "ray/bin/python")):
        if python and os.access(python, os.X_OK):
            tried = subprocess.run([python, "-c", "import ray"], capture_output=True)
            if tried.returncode == 0:
                return python
    return None


@functools.cache
def find_torch() -> str | None:
    """Return a wheel of torch for the CPU, if pip has one at hand: by an index it is huge."""
    wheels = WORK / "wheels"
    command = [sys._base_executable, "-m", "pip", "download", "--quiet", "--no-index"]
    subprocess.run([*command, "--no-deps", "--dest", wheels, "torch"], capture_output=True)
    found = sorted(wheels.glob("torch-*.whl"), key=os.path.getmtime)
    return os.environ.get("FAL_CORE_TORCH") or (str(found[-1]) if found else None)
